"""The built wheel: what is in it, and that it works where the sources are not."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "sklearn_lntune").rglob("*")
        if file.suffix in (".py", ".csv", ".typed", ".html", ".css", ".js", ".svg")
        or file.name == "py.typed"
    }
    assert held == wanted
    described = {
        n.split("/", 1)[1] for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" in n
    }
    assert described == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"),
    }


def test_wheel_works_where_the_sources_are_not(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--no-index"]
    subprocess.run([*install, "--target", str(target), str(wheel)], check=True)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import sklearn_lntune\n"
        "from sklearn_lntune.datasets import load_support_tickets\n"
        "assert sklearn_lntune.__file__.startswith(sys.argv[1])\n"
        "assert len(load_support_tickets(subset='test').data) == 320\n"
        "sklearn_lntune.LNTunedTransformerClassifier()"
    )
    subprocess.run([sys.executable, "-I", "-c", program, str(target)], check=True, cwd=tmp_path)
