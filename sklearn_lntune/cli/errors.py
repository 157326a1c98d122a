"""Every error is one line on standard error and an exit code; a traceback only with ``--debug``."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

DEBUG = "--debug"
#: Exit codes: an error in the data or files, one in the arguments, and typer's after Ctrl-C.
FAILED, MISUSED, INTERRUPTED = 1, 2, 130
#: Errors whose message is written for the user; others are shown with the name of their class.
_EXPECTED = (ValueError, TypeError, OSError, ImportError)


class OneLineErrors(TyperGroup):
    """The group of all commands, which reports any error in one line."""

    def main(self, args: Sequence[str] | None = None, **options: Any) -> Any:  # type: ignore[override]
        """Run a command; ``--debug`` may stand anywhere before a ``--``."""
        given = list(sys.argv[1:] if args is None else args)
        own = given[: given.index("--")] if "--" in given else given
        debug = DEBUG in own
        with _one_line_warnings():
            try:
                code = super().main(
                    [*(each for each in own if each != DEBUG), *given[len(own) :]],
                    **{**options, "standalone_mode": False},
                )
            except Exception as error:
                if debug:
                    raise
                _stop(error)
        if code == INTERRUPTED:
            complain("interrupted")
        sys.exit(code if isinstance(code, int) else 0)


def _stop(error: Exception) -> NoReturn:
    """Report ``error`` and leave."""
    if isinstance(error, typer.Abort):  # of older versions of typer, after Ctrl-C
        complain("interrupted")
        sys.exit(INTERRUPTED)
    if hasattr(error, "format_message"):  # of the arguments, by typer
        complain(error.format_message())
        sys.exit(MISUSED)
    text = str(error)
    if not isinstance(error, _EXPECTED):
        text = f"{type(error).__name__}: {text}. {DEBUG} shows where"
    complain(text)
    sys.exit(FAILED)


def complain(text: str) -> None:
    """Write an error to standard error, as one line."""
    _write(f"sklearn-lntune: error: {' '.join(text.split())}")


def _write(line: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no standard error
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is where the command prints


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show warnings as one line each, without the place in the code."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        _write(f"sklearn-lntune: warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
