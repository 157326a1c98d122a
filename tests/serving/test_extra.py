"""Without the extra, the package works, and the server says what to install."""

from __future__ import annotations

import subprocess
import sys


def test_the_error_names_the_extra() -> None:
    program = (
        "import sys\n"
        "import sklearn_lntune\n"
        "for package in ('fastapi', 'uvicorn', 'prometheus_client'):\n"
        "    sys.modules[package] = None\n"
        "    try:\n"
        "        import sklearn_lntune.serving\n"
        "    except ImportError as error:\n"
        "        said = str(error)\n"
        "    expected = f\"needs {package}: pip install 'sklearn-lntune[serve]'.\"\n"
        "    assert said.endswith(expected), said\n"
        "    del sys.modules[package]\n"
        "    for name in [name for name in sys.modules if 'lntune.serving' in name]:\n"
        "        del sys.modules[name]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
