"""The entry point: says what to install if the extra is missing, and otherwise runs the command."""

from __future__ import annotations

import sys

#: What the extra ``cli`` installs beyond the package's own dependencies.
_NEEDED = ("rich", "typer", "yaml")


def main() -> None:
    """Run the command with the arguments of this process."""
    try:
        from sklearn_lntune.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.exit(
            f"sklearn-lntune: error: the command needs {error.name}, which is not installed: "
            "pip install 'sklearn-lntune[cli]'"
        )
    app(prog_name="sklearn-lntune")
