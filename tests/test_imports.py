"""What importing costs, and which way imports point."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_lntune

ROOT = Path(sklearn_lntune.__file__).parent
#: From the ground up; a room imports from itself and from rooms below it only.
FLOORS = [
    "exceptions",
    "checks",
    "forking",
    "datasets",
    "text",
    "task",
    "backbone",
    "tuning",
    "network",
    "persistence",
    "training",
    "prediction",
    "fusion",
    "saving",
    "classifier",
    "bank",
    "inspection",
    "__init__",
]


def test_importing_and_constructing_need_neither_torch_nor_transformers() -> None:
    program = (
        "import sys, sklearn_lntune\n"
        "from sklearn_lntune import LNTunedTransformerClassifier\n"
        "from sklearn_lntune.tuning import FullTuning, LayerNormTuning\n"
        "clf = LNTunedTransformerClassifier(tuning=LayerNormTuning(layers=2))\n"
        "FullTuning(), repr(clf), clf.get_params()\n"
        "clf.set_params(tuning__layernorm__terms='bias')\n"
        "heavy = {'torch', 'transformers', 'skorch', 'datasets', 'tokenizers'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(file: Path) -> None:
    floor = FLOORS.index(room(file))
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn_lntune"):
            names = [node.module or ""]
            if node.module == "sklearn_lntune":
                names = [f"sklearn_lntune.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("sklearn_lntune.")]
        for name in names:
            assert FLOORS.index(name.split(".")[1]) <= floor, f"{file.name} imports {name}"


def test_public_names() -> None:
    assert set(sklearn_lntune.__all__) <= set(dir(sklearn_lntune))
    for name in sklearn_lntune.__all__:
        assert getattr(sklearn_lntune, name).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        sklearn_lntune.nonsense  # noqa: B018
