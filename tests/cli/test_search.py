"""``search``: grids in files, candidates side by side, the best one written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.model_selection import GridSearchCV

import sklearn_lntune
from sklearn_lntune.cli.values import parse_value, read_grid

GRIDS = {
    "grid.yaml": "lr: [1e-3, 5.0e-2]\ntuning__layernorm__terms: [both, bias]\n",
    "grid.json": '{"lr": [0.001, 0.05], "tuning__layernorm__terms": ["both", "bias"]}',
    "grid.toml": 'lr = [1e-3, 5e-2]\ntuning__layernorm__terms = ["both", "bias"]\n',
}


@pytest.mark.parametrize("name", GRIDS)
def test_grids_of_every_format_are_equal(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(GRIDS[name])
    wanted = {"lr": [0.001, 0.05], "tuning__layernorm__terms": ["both", "bias"]}
    assert read_grid(tmp_path / name) == [wanted]


@pytest.mark.parametrize(
    ("name", "content"),
    [("g.yaml", "- lr: [1]\n- lr: [2]\n"), ("g.toml", "[[grid]]\nlr = [1]\n[[grid]]\nlr = [2]\n")],
)
def test_several_grids(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_grid(tmp_path / name) == [{"lr": [1]}, {"lr": [2]}]


def test_numbers_as_people_write_them() -> None:
    written = ["1e-3", "-1E+2", "2.5e1", "7", "0.5", "null", "1e", "e3", "lr-1e3"]
    assert [parse_value(each) for each in written] == [
        *(0.001, -100.0, 25.0, 7, 0.5, None, "1e", "e3", "lr-1e3")
    ]


def test_search_finds_what_scikit_learn_finds(
    run: Callable[..., Any],
    tickets: Path,
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    quick: list[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "grid.yaml").write_text(GRIDS["grid.yaml"])
    clf = tiny_clf()
    columns = ["--text", "message", "--label", "queue", "--backbone", clf.backbone]
    files = ["-o", tmp_path / "best.zip", "--json", tmp_path / "found.json", "--cv", 2]
    result = run(
        *("search", tickets, tmp_path / "grid.yaml", *columns, *files, *quick),
        *("--set", "precision=float64", "--set", "max_epochs=2"),
    )
    assert result.exit_code == 0, result.output
    grid = read_grid(tmp_path / "grid.yaml")
    slow = GridSearchCV(clf, grid, cv=2, scoring="accuracy").fit(texts, labels)
    found = json.loads((tmp_path / "found.json").read_text())["candidates"]
    scores = {str(each["params"]): each["mean"] for each in found}
    for params, score in zip(
        slow.cv_results_["params"], slow.cv_results_["mean_test_score"], strict=True
    ):
        assert scores[str(params)] == pytest.approx(score)
    assert found[0]["mean"] == pytest.approx(slow.best_score_)
    best = sklearn_lntune.load(tmp_path / "best.zip")
    assert best.lr == found[0]["params"]["lr"]
    assert "cross-validated accuracy" in (tmp_path / "best.md").read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.yaml", "lr: 1\n", "'lr' must have a list of values; it has 1"),
        ("g.yaml", "[]\n", "holds no grid"),
        ("g.yaml", "lr: []\n", "'lr' must have a list of values"),
        ("g.yaml", "lr: [1\n", "cannot be read as yaml"),
        ("g.yaml", "lr: !!python/object/apply:os.getcwd []\n", "cannot be read as yaml"),
        ("g.yaml", "a: &x [1]\nb: *x\n", "references (*name) are not read"),
        ("g.yaml", "rate: [1]\n", "'rate' is not a parameter of the classifier"),
        ("g.yaml", "tuning: [magic]\n", "'magic' is not a tuning method"),
        ("g.json", '{"lr": [NaN]}', "cannot be read as json"),
        ("g.toml", "lr = [1", "cannot be read as toml"),
        ("g.toml", "lr = [1]\n\xff", "cannot be read as toml"),
        ("g.ini", "", "a grid is a file that ends in .yaml, .yml, .json, .toml"),
        ("g.yaml", " " * 2**20 + "lr: [1]", "it is not a grid"),
    ],
)
def test_files_that_are_no_grid(
    run: Callable[..., Any], tickets: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content, "latin-1")
    result = run("search", tickets, tmp_path / name, "--backbone", "/nowhere")
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unknown_scorer(run: Callable[..., Any], tickets: Path, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("lr: [1]")
    result = run("search", tickets, tmp_path / "g.yaml", "--scoring", "luck")
    assert "--scoring luck: there are accuracy," in result.stderr
