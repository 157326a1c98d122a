"""Without the extra, the package works, and the server says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_the_error_names_the_extra(package: str) -> None:
    program = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "import sklearn_lntune\n"
        "try:\n"
        "    import sklearn_lntune.serving\n"
        "except ImportError as error:\n"
        f"    expected = \"needs {package}: pip install 'sklearn-lntune[serve]'.\"\n"
        "    sys.exit(0 if str(error).endswith(expected) else str(error))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
