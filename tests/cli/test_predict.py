"""``predict``: every form of input and output, and memory that does not grow."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.cli.formats import Record
from sklearn_lntune.cli.predict import stream


@pytest.fixture(scope="module")
def answers(fitted: LNTunedTransformerClassifier, texts: list[str]) -> list[str]:
    found = fitted.predict(texts).tolist()
    assert len(set(found)) > 1
    return found


def test_lines_from_standard_input(
    run: Callable[..., Any], saved: Path, texts: list[str], answers: list[str]
) -> None:
    result = run("predict", saved, input="\n".join(texts))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == answers
    assert run("predict", saved, "-", "--chunk", 7, input="\n".join(texts)).stdout == result.stdout


def test_an_empty_line_has_an_answer(
    run: Callable[..., Any], saved: Path, fitted: LNTunedTransformerClassifier
) -> None:
    result = run("predict", saved, input="\r\nsun\r\n")
    assert result.stdout.splitlines() == fitted.predict(["", "sun"]).tolist()


def test_no_lines_no_answers(run: Callable[..., Any], saved: Path) -> None:
    result = run("predict", saved, input="")
    assert (result.exit_code, result.stdout) == (0, "")


def test_added_columns_in_csv(
    run: Callable[..., Any], saved: Path, tickets: Path, answers: list[str], tmp_path: Path
) -> None:
    added = ["--text", "message", "--add-columns", "--probabilities", "answer"]
    result = run("predict", saved, tickets, *added)
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert list(rows[0]) == ["id", "message", "queue", "prediction", "probability"]
    assert [row["prediction"] for row in rows] == answers
    assert [row["id"] for row in rows] == [str(i) for i in range(40)]
    written = run("predict", saved, tickets, *added, "-o", tmp_path / "done.csv")
    assert written.stdout == ""
    assert (tmp_path / "done.csv").read_text() == result.stdout


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_into_every_other(
    run: Callable[..., Any],
    saved: Path,
    tickets: Path,
    fitted: LNTunedTransformerClassifier,
    answers: list[str],
    tmp_path: Path,
    ending: str,
) -> None:
    added = ["--text", "message", "--add-columns", "--probabilities", "all"]
    first = run("predict", saved, tickets, *added, "-o", tmp_path / f"one.{ending}")
    assert first.exit_code == 0, first.output
    again = ["--text", "message", "--as", "again", "--chunk", 16, "--add-columns"]
    result = run("predict", saved, tmp_path / f"one.{ending}", *again, "-o", tmp_path / "two.jsonl")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "two.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in rows] == answers
    assert [row["again"] for row in rows] == answers
    assert list(rows[0])[:4] == ["id", "message", "queue", "prediction"]
    probability = pd.DataFrame(rows)[[f"probability {name}" for name in fitted.classes_]]
    assert probability.astype(float).sum(axis=1).round(3).eq(1).all()


def test_types_of_parquet_stay(
    run: Callable[..., Any], saved: Path, texts: list[str], tmp_path: Path
) -> None:
    frame = pd.DataFrame({"text": texts, "price": 1.5, "when": pd.Timestamp("2026-01-01")})
    frame.to_parquet(tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    result = run("predict", saved, tmp_path / "in.parquet", "--add-columns", "-o", out)
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(pd.read_parquet(out)[frame.columns.tolist()], frame)


def test_only_answers_in_a_table(
    run: Callable[..., Any], saved: Path, tickets: Path, answers: list[str], tmp_path: Path
) -> None:
    run("predict", saved, tickets, "--text", "message", "-o", tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"prediction": each} for each in answers]


@pytest.mark.parametrize("chunk", [1, 5])
def test_no_more_rows_are_read_than_are_being_answered(chunk: int) -> None:
    """Without an end of the input in sight, at most ``chunk`` rows are in memory."""
    read: list[int] = []
    written: list[int] = []
    most = 0

    def endless() -> Iterator[Record]:
        nonlocal most
        for number in range(10**9):
            read.append(number)
            most = max(most, len(read) - len(written))
            yield Record("", {"text": str(number)})

    def answer(records: Sequence[Record]) -> list[dict[str, Any]]:
        return [{"prediction": record.cells["text"]} for record in records]

    class EnoughError(Exception):
        pass

    def write(rows: Sequence[Any]) -> None:
        written.extend(int(cells["prediction"]) for _, cells in rows)
        if len(written) >= 1000:
            raise EnoughError

    with pytest.raises(EnoughError):
        stream(endless(), answer, write, chunk)
    assert written == list(range(1000))
    assert most == chunk


def test_an_error_leaves_no_file_and_the_old_one_as_it_was(
    run: Callable[..., Any], saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "sun"}\n{"text": 3}\n')
    (tmp_path / "out.csv").write_text("old")
    where = ["-o", tmp_path / "out.csv", "--chunk", 1]
    refused = run("predict", saved, tmp_path / "in.jsonl", *where)
    assert "out.csv is there already; pass --overwrite" in refused.stderr
    result = run("predict", saved, tmp_path / "in.jsonl", *where, "--overwrite")
    assert result.exit_code == 1
    assert "line 2: the column 'text' holds 3 (int), not a text" in result.stderr
    assert (tmp_path / "out.csv").read_text() == "old"
    assert {file.name for file in tmp_path.iterdir()} == {"in.jsonl", "out.csv"}


def test_a_file_may_be_replaced_by_itself_with_answers(
    run: Callable[..., Any], saved: Path, tickets: Path, answers: list[str]
) -> None:
    added = ["--text", "message", "--add-columns", "--chunk", 3]
    result = run("predict", saved, tickets, *added, "-o", tickets, "--overwrite")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(tickets)["prediction"].tolist() == answers


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("a.csv", b"text\n", ["--add-columns", "--as", "text"], "has a column 'text' already"),
        ("a.csv", b"a,text\n1\n", [], "line 2 has 1 cells, and the first line 2"),
        ("a.csv", b'text\n"open\n', [], "is a quote not closed"),
        ("a.csv", b"", [], "is empty; its first line must name the columns"),
        ("a.csv", b"text,text\n", [], "two columns called 'text'"),
        ("a.csv", b"text\nfine\n\xff\xfe\n", [], "is not UTF-8"),
        ("a.csv.gz", b"text\n", [], "is not a whole gzip file"),
        ("a.jsonl", b'{"text": "a"}\n{"text"\n', [], "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", [], "line 1 is not a JSON object"),
        ("a.jsonl", b'{"text": "\\ud83d"}\n', [], "line 1: the column 'text' holds half of a UTF"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"body": "b"}\n',
            [],
            "line 2: the column 'text' holds nothing",
        ),
        ("a.parquet", b"text", [], "is not a Parquet file"),
        ("a.xlsx", b"text", [], "its name does not say what is in it; give --format"),
    ],
)
def test_inputs_that_are_not_what_they_should_be(
    run: Callable[..., Any],
    saved: Path,
    tmp_path: Path,
    name: str,
    content: bytes,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    result = run("predict", saved, tmp_path / name, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_class_that_does_not_fit_into_a_line(
    run: Callable[..., Any],
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
) -> None:
    clf = tiny_clf(max_epochs=1).fit(texts, [label.replace("red", "r\ned") for label in labels])
    clf.save(tmp_path / "odd.zip")
    result = run("predict", tmp_path / "odd.zip", input="sun")
    assert "the class 'r\\ned' does not fit into one line" in result.stderr
    assert (
        run("predict", tmp_path / "odd.zip", "-o", tmp_path / "a.csv", input="sun").exit_code == 0
    )
