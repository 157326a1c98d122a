from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from sklearn_lntune.datasets import fetch_text_dataset
from sklearn_lntune.datasets.real import FOLDER_VARIABLE

TEXTS = 'text,label\na first text,yes\n"with, a comma",no\n'


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``store(file, content)`` in the folder of data sets."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))

    def write(file: str, content: str) -> None:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        raw = content.encode()
        path.write_bytes(gzip.compress(raw) if file.endswith(".gz") else raw)

    return write


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Dataset], list[Any]]:
    """``hub(rows)``: what the hub gives; what was asked of it."""

    def serve(rows: Dataset) -> list[Any]:
        asked: list[Any] = []

        def load_dataset(*args: Any, **kwargs: Any) -> Dataset:
            asked.append((*args, kwargs))
            return rows

        monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        return asked

    return serve


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_texts_and_labels_come_from_the_folder(
    store: Callable[[str, str], None], ending: str
) -> None:
    store(f"own/test.{ending}", TEXTS)
    texts, labels = fetch_text_dataset("own", "test")
    assert texts == ["a first text", "with, a comma"]
    assert labels == ["yes", "no"]


def test_the_training_rows_are_the_default(store: Callable[[str, str], None]) -> None:
    store("own/train.csv", TEXTS)
    store("own/test.csv", "text,label\nother,no\n")
    assert fetch_text_dataset("own") == fetch_text_dataset("own", "train")
    assert fetch_text_dataset("own") != fetch_text_dataset("own", "test")


def test_two_columns_are_pairs(store: Callable[[str, str], None]) -> None:
    store("own/train.csv", "text_a,text_b,label\nleft,right,1\nup,,0\n")
    assert fetch_text_dataset("own") == ([("left", "right"), ("up", "")], ["1", "0"])


def test_texts_that_look_like_missing_values_or_numbers_stay_texts(
    store: Callable[[str, str], None],
) -> None:
    store("own/train.csv", "text,label\nNA,null\nnull,NA\nnan,0\n,1\n1.50,007\n")
    texts, labels = fetch_text_dataset("own")
    assert texts == ["NA", "null", "nan", "", "1.50"]
    assert labels == ["null", "NA", "0", "1", "007"]


def test_a_set_in_the_folder_goes_before_the_hubs(store: Callable[[str, str], None]) -> None:
    store("trec/train.csv", TEXTS)
    assert fetch_text_dataset("trec")[1] == ["yes", "no"]


@pytest.mark.parametrize("folder", [None, "", "empty"])
def test_an_unknown_set_is_an_error_that_lists_the_known(
    folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    if folder is not None:
        monkeypatch.setenv(FOLDER_VARIABLE, folder and str(tmp_path))
    with pytest.raises(ValueError, match=r"no data set 'trek' \(split 'train'\)") as error:
        fetch_text_dataset("trek")
    for told in ("'trec'", "'banking77'", FOLDER_VARIABLE, "trek/train.csv"):
        assert told in str(error.value)


def test_a_missing_split_is_an_error_that_names_it(store: Callable[[str, str], None]) -> None:
    store("own/train.csv", TEXTS)
    with pytest.raises(ValueError, match=r"'own' \(split 'validation'\)"):
        fetch_text_dataset("own", "validation")


def test_the_hubs_labels_are_their_names(hub: Callable[[Dataset], list[Any]]) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    asked = hub(Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features))
    assert fetch_text_dataset("imdb", "test") == (["a", "b"], ["good", "bad"])
    assert asked == [("stanfordnlp/imdb", None, {"split": "test"})]


def test_the_hubs_pairs_are_pairs(hub: Callable[[Dataset], list[Any]]) -> None:
    columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [3, 4]}
    asked = hub(Dataset.from_dict(columns))
    assert fetch_text_dataset("mrpc", "validation") == ([("a", "c"), ("b", "d")], ["3", "4"])
    assert asked == [("nyu-mll/glue", "mrpc", {"split": "validation"})]
