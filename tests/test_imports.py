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
    "documentation",
    "checks",
    "console",
    "tensors",
    "forking",
    "datasets",
    "inputs",
    "task",
    "backbone",
    "tuning",
    "network",
    "persistence",
    "exchange",
    "prediction",
    "training",
    "fusion",
    "estimators",
    "classifier",
    "bank",
    "inspection",
    "serving",
    "cli",
    "__main__",
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
        "heavy = {'torch', 'transformers', 'skorch', 'datasets', 'tokenizers', 'fastapi'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


#: The package's modules, and what each imports of them, anywhere in the file.
MODULES = {module_of(file): file for file in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES and name != module}


IMPORTS = {module: imports_of(module) for module in MODULES}


def test_no_module_imports_peft() -> None:
    """Its format is written and read without it, which is tested where it is not importable."""
    for file in MODULES.values():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            assert not any(name.split(".")[0] == "peft" for name in names), file


def floor_of(module: str) -> int:
    return FLOORS.index([*module.split("."), "__init__"][1])


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    above = [name for name in IMPORTS[module] if floor_of(name) > floor_of(module)]
    assert not above


def test_no_module_imports_itself_through_others() -> None:
    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [*IMPORTS[start]]
        while ahead:
            if (name := ahead.pop()) not in seen:
                seen.add(name)
                ahead += IMPORTS[name]
        return seen

    assert [module for module in MODULES if module in reached(module)] == []


def test_public_names() -> None:
    assert set(sklearn_lntune.__all__) <= set(dir(sklearn_lntune))
    for name in sklearn_lntune.__all__:
        assert getattr(sklearn_lntune, name).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        sklearn_lntune.nonsense  # noqa: B018
