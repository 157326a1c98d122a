"""Several labels, numbers and tags: every command, and every form in which cells hold them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet
from sklearn.metrics import f1_score, r2_score

import sklearn_lntune
from sklearn_lntune.cli.baselines import MostFrequentTag
from sklearn_lntune.cli.data import Columns, read_labelled
from sklearn_lntune.cli.scores import figures
from sklearn_lntune.cli.targets import Target

PNG = b"\x89PNG"
COLOURS = ["blue", "red, dark", "green"]


@dataclass(frozen=True)
class Kind:
    target: str
    #: The cell for a text with a number.
    cell: Callable[[str, int], Any]
    estimator: str
    first_score: str


KINDS = {
    "labels": Kind(
        "labels",
        lambda text, number: [each for i, each in enumerate(COLOURS) if number % (i + 2) == 0],
        "LNTunedTransformerClassifier",
        "micro_f1",
    ),
    "number": Kind("number", lambda text, number: number % 7, "LNTunedTransformerRegressor", "r2"),
    "numbers": Kind(
        "number", lambda text, number: [number % 7, 0.5], "LNTunedTransformerRegressor", "r2"
    ),
    "tags": Kind(
        "tags",
        lambda text, number: ["B-long" if len(word) > 3 else "O" for word in text.split()],
        "LNTunedTransformerTagger",
        "entity_f1",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def data(kind: Kind, texts: list[str], tmp_path: Path) -> Path:
    rows = [{"text": text, "y": kind.cell(text, i)} for i, text in enumerate(texts)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "data.jsonl"


@pytest.fixture
def trained(
    kind: Kind, data: Path, run: Callable[..., Any], lively_backbone: Any, quick: list[str]
) -> Path:
    where = ["--backbone", lively_backbone(), "-o", data.parent / "a.zip"]
    columns = ["--target", kind.target, "--label", "y", "--held-out", 0.25]
    result = run("train", data, *columns, *where, *quick, "--set", "lr=0.05")
    assert result.exit_code == 0, result.output
    return data.parent / "a.zip"


def test_train_evaluate_and_predict(
    kind: Kind, data: Path, trained: Path, run: Callable[..., Any], texts: list[str]
) -> None:
    estimator = sklearn_lntune.load(trained)
    assert type(estimator).__name__ == kind.estimator
    metrics = json.loads(trained.with_name("a.metrics.json").read_text())
    assert metrics["rows"] == 10
    assert kind.first_score in metrics

    files = ["--json", data.parent / "found.json", "--plot", data.parent / "found.png"]
    result = run("evaluate", trained, data, "--label", "y", *files)
    assert result.exit_code == 0, result.output
    found = json.loads((data.parent / "found.json").read_text())
    shown = f"{kind.first_score.replace('_', ' ')} {found[kind.first_score]:.4f}"
    assert shown in result.stdout
    assert (data.parent / "found.png").read_bytes().startswith(PNG)

    answers = []
    for ending in ("jsonl", "csv", "parquet"):
        out = data.parent / f"out.{ending}"
        result = run("predict", trained, data, "--add-columns", "--chunk", 16, "-o", out)
        assert result.exit_code == 0, result.output
        columns = Columns("text", label="prediction", target=Target(kind.target))
        answers.append(read_labelled(str(out), columns).targets)
    assert answers[0] == answers[1] == answers[2]
    predicted = estimator.predict(texts)
    if kind.target == "labels":
        names = np.array(estimator.label_names_)
        predicted = [names[row == 1].tolist() for row in predicted]
    if kind.target == "number":
        np.testing.assert_allclose(answers[0], predicted, rtol=1e-6)
    else:
        assert answers[0] == predicted
    truth = [kind.cell(text, i) for i, text in enumerate(texts)]
    assert figures(Target(kind.target), truth, answers[0])[kind.first_score] == pytest.approx(
        found[kind.first_score], rel=1e-4
    )

    lines = run("predict", trained, input="\n".join(texts[:3])).stdout.splitlines()
    separator = " " if kind.target == "tags" else ";"
    found_lines = [line.split(separator) for line in lines]
    if kind.target == "number":
        np.testing.assert_allclose(
            np.array(found_lines, float).squeeze(), answers[0][:3], rtol=1e-5
        )
    else:
        assert found_lines == [each or [""] for each in answers[0][:3]]


def test_compare(
    kind: Kind,
    data: Path,
    run: Callable[..., Any],
    tiny_backbone: Any,
    quick: list[str],
) -> None:
    columns = ["--target", kind.target, "--label", "y", "--backbone", tiny_backbone(), "-q"]
    files = ["--json", data.parent / "c.json", "--plot", data.parent / "c.png"]
    result = run("compare", data, *columns, *files, *quick)
    assert result.exit_code == 0, result.output
    rows = json.loads((data.parent / "c.json").read_text())["methods"]
    assert len(rows) == 4
    assert all(row[kind.first_score] <= 1 for row in rows)
    best = max(rows, key=lambda row: row[kind.first_score])["method"]
    assert f"best {kind.first_score.replace('_', ' ')}: {best}" in result.stdout
    assert (data.parent / "c.png").read_bytes().startswith(PNG)


def test_search(
    kind: Kind, data: Path, run: Callable[..., Any], tiny_backbone: Any, quick: list[str]
) -> None:
    (data.parent / "grid.yaml").write_text("lr: [1e-3, 1e-2]")
    columns = ["--target", kind.target, "--label", "y", "--backbone", tiny_backbone()]
    result = run("search", data, data.parent / "grid.yaml", *columns, *quick, "--cv", 2)
    assert result.exit_code == 0, result.output
    assert "lr=0.001" in result.stdout


@pytest.mark.parametrize("kind", [KINDS["labels"], KINDS["tags"]], ids=["labels", "tags"])
def test_probabilities(kind: Kind, data: Path, trained: Path, run: Callable[..., Any]) -> None:
    result = run(
        "predict", trained, data, "--probabilities", "answer", "-o", data.parent / "a.jsonl"
    )
    assert result.exit_code == 0, result.output
    lines = (data.parent / "a.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert any(row["prediction"] for row in rows)
    for row in rows:
        assert len(row["probability"]) == len(row["prediction"])
        assert all(0 < share <= 1 for share in row["probability"])
    everything = run(
        "predict", trained, data, "--probabilities", "all", "-o", data.parent / "all.parquet"
    )
    if kind.target == "tags":
        assert "of a tagger, only those of the answer" in everything.stderr
        return
    frame = pd.read_parquet(data.parent / "all.parquet")
    marks = frame[[f"probability {name}" for name in sorted(COLOURS)]].to_numpy() > 0.5
    assert marks.sum(axis=1).tolist() == frame["prediction"].map(len).tolist()


@pytest.mark.parametrize("kind", [KINDS["number"]], ids=["number"])
def test_numbers_have_no_probabilities(
    kind: Kind, data: Path, trained: Path, run: Callable[..., Any]
) -> None:
    result = run("predict", trained, data, "--probabilities", "answer")
    assert result.exit_code == 1
    assert "--probabilities: a regressor has none" in result.stderr


@pytest.mark.parametrize("kind", [KINDS["labels"]], ids=["labels"])
def test_names_of_labels(
    kind: Kind, data: Path, trained: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    found = json.loads(run("info", trained, "--json").stdout)
    assert found["classes"] == sorted(COLOURS)
    result = run("predict", trained, data, "--separator", ",")
    assert result.exit_code == 1
    assert "the label 'red, dark' holds ',', which separates labels" in result.stderr
    # An answer without a label in the first rows does not decide the type of the column.
    empty = {"text": "", "y": []}
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(empty)}\n{data.read_text()}")
    out = tmp_path / "out.parquet"
    result = run("predict", trained, tmp_path / "in.jsonl", "--chunk", 1, "-o", out)
    assert result.exit_code == 0, result.output
    assert str(parquet.read_schema(out).field("prediction").type).startswith("list<")


# -- reading -------------------------------------------------------------------------


def _read(tmp_path: Path, target: str, name: str, content: str, **options: Any) -> list[Any]:
    (tmp_path / name).write_text(content)
    columns = Columns("text", label="y", target=Target(target), **options)
    return read_labelled(str(tmp_path / name), columns).targets


@pytest.mark.parametrize(
    ("target", "name", "content", "expected"),
    [
        ("labels", "a.csv", "text,y\na,red; blue\na,\na,red;red\n", [["red", "blue"], [], ["red"]]),
        (
            "labels",
            "a.jsonl",
            '{"text": "a", "y": ["x;y", 3]}\n{"text": "a", "y": 3}',
            [["x;y", "3"], ["3"]],
        ),
        ("number", "a.csv", "text,y\na,1e-3\na,-2\n", [0.001, -2.0]),
        ("number", "a.tsv", "text\ty\na\t1;2\na\t3;4\n", [[1.0, 2.0], [3.0, 4.0]]),
        ("number", "a.jsonl", '{"text": "a", "y": 1}\n{"text": "a", "y": "2"}', [1.0, 2.0]),
        ("tags", "a.csv", "text,y\na b,O  B-x\n", [["O", "B-x"]]),
        ("tags", "a.jsonl", '{"text": ["a b", "c"], "y": ["O", 1]}', [["O", "1"]]),
    ],
)
def test_forms_of_targets(
    tmp_path: Path, target: str, name: str, content: str, expected: list[Any]
) -> None:
    assert _read(tmp_path, target, name, content) == expected


@pytest.mark.parametrize(
    ("target", "cells", "message"),
    [
        ("label", ["a", ["b"]], r"line 2: the column 'y' holds \['b'\], not one label \(see --t"),
        ("labels", [["a"], None], "line 2 has no labels in the column 'y'; write an empty list"),
        ("labels", [["a"], [["b"]]], r"line 2: the column 'y' holds \['b'\], where a text is"),
        ("labels", [["a"], {"b": 1}], "line 2: the column 'y' holds {'b': 1}"),
        ("number", [1, "two"], "line 2: the column 'y' holds two, not a number"),
        ("number", [1, True], "line 2: the column 'y' holds True, not a number"),
        ("number", [1, float("nan")], "line 2: the column 'y' holds nan, not a number"),
        ("number", [1, 10**400], "line 2: the column 'y' holds 1000"),
        ("number", [1, [1, 2]], r"line 2 has \[1.0, 2.0\] where 1.0 was expected"),
        ("number", [1, None], "line 2 has no number in the column 'y'"),
        ("tags", [["O"], ["O", "O"]], "line 2 has 1 words and 2 tags"),
        ("tags", [["O"], [None]], "line 2: the column 'y' holds None, where a text is expected"),
    ],
)
def test_targets_that_are_not_what_they_should_be(
    tmp_path: Path, target: str, cells: list[Any], message: str
) -> None:
    content = "\n".join(json.dumps({"text": "a", "y": cell}) for cell in cells)
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, target, "a.jsonl", content)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "tags", "--text-pair", "y"], "--text-pair: a tagger takes sentences"),
        (["--target", "labels", "--separator", ""], "--separator must not be empty"),
        (
            ["--target", "number", "--set", "class_weight=balanced"],
            "is not a parameter of the regr",
        ),
        (["--target", "labels"], "have no other label than ['sun']; several labels per row"),
        (["--target", "number", "--test", "TEST"], "has [1.0, 2.0] where 1.0 was expected"),
    ],
)
def test_errors_before_training(
    run: Callable[..., Any], tmp_path: Path, arguments: list[str], message: str
) -> None:
    first = {"number": "1"}.get(arguments[1], "sun")
    (tmp_path / "a.csv").write_text(f"text,y\nx,{first}\nx,{first}\n")
    (tmp_path / "test.csv").write_text("text,y\nx,1;2\n")
    given = [str(tmp_path / "test.csv") if each == "TEST" else each for each in arguments]
    where = ["-o", tmp_path / "a.zip", "--backbone", "/nowhere", "--label", "y"]
    result = run("train", tmp_path / "a.csv", *where, *given, "--quiet")
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


# -- figures -------------------------------------------------------------------------


def test_figures_are_those_of_scikit_learn() -> None:
    truth, found = [["a"], ["a", "b"], [], ["c"]], [["a"], ["b"], ["a"], ["d"]]
    marks = [[[name in row for name in "abcd"] for row in rows] for rows in (truth, found)]
    labels = figures(Target.labels, truth, found)
    expected = f1_score(*map(np.array, marks), average="micro", zero_division=0)
    assert labels["micro_f1"] == pytest.approx(expected)
    assert labels["exact_match"] == 0.25
    assert labels["classes"]["a"]["rows"] == 2
    numbers = figures(Target.number, [[1, 2], [3, 5]], [[1, 3], [2, 5]])
    assert numbers["r2"] == pytest.approx(r2_score([[1, 2], [3, 5]], [[1, 3], [2, 5]]))
    tags = figures(Target.tags, [["B-x", "I-x"], ["O"]], [["B-x", "O"], ["O"]])
    assert (tags["entity_f1"], tags["words"], tags["rows"]) == (0, 3, 2)
    assert tags["accuracy"] == pytest.approx(2 / 3)


def test_figures_without_anything_to_compare() -> None:
    assert figures(Target.labels, [[], []], [[], []])["exact_match"] == 1
    assert "r2" not in figures(Target.number, [1.0, 1.0], [0.0, 2.0])
    with pytest.raises(ValueError, match="2 numbers per row, and 1 are predicted"):
        figures(Target.number, [[1, 2]], [1])
    with pytest.raises(ValueError, match="no words"):
        figures(Target.tags, [[]], [[]])


def test_the_most_frequent_tag() -> None:
    simple = MostFrequentTag().fit([["a", "b"], ["a", "c"]], [["X", "Y"], ["X", "Y"]])
    assert simple.predict([["a", "b", "new"], []]) == [["X", "Y", "X"], []]
