"""Tables as X: read in chunks, with the numbers that a list gives."""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.base import clone

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.inputs import tables
from sklearn_lntune.inputs.stream import TextStream
from sklearn_lntune.inputs.text import tokens
from sklearn_lntune.inputs.text.check import check_texts
from sklearn_lntune.inputs.text.opening import TextInput
from sklearn_lntune.task import OneLabel

Clf = Callable[..., LNTunedTransformerClassifier]
FORMS = ["dataset", "indexed", "torch", "stream", "generator", "file", "folder", "path as str"]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks for forty rows."""
    monkeypatch.setattr(tables, "READ_ROWS", 16)
    monkeypatch.setattr(tokens, "_CHUNK", 7)


@pytest.fixture
def form(tmp_path: Path) -> Callable[..., Any]:
    """``form(kind, columns)``: the columns as a table of that kind."""

    def make(kind: str, **columns: list[Any]) -> Any:
        whole = datasets.Dataset.from_dict(columns)
        if kind == "dataset":
            return whole
        if kind == "indexed":
            n = len(whole)
            twice = datasets.concatenate_datasets([whole, whole])
            return twice.select([i if i % 2 else i + n for i in range(n)])
        if kind == "torch":
            return whole.with_format("torch")
        if kind == "stream":
            return whole.to_iterable_dataset(num_shards=2)
        if kind == "generator":
            return datasets.IterableDataset.from_generator(lambda: iter(whole))
        folder = tmp_path / "parquet"
        folder.mkdir(exist_ok=True)
        if kind == "folder":
            whole.select(range(10)).to_parquet(folder / "part-0.parquet")
            whole.select(range(10, len(whole))).to_parquet(folder / "part-1.parquet")
            (folder / "_SUCCESS").touch()
            return folder
        file = folder / "all.parquet"
        whole.to_parquet(file)
        return str(file) if kind == "path as str" else file

    return make


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", FORMS)
def test_a_fit_is_that_of_the_list_bit_for_bit(
    kind: str, form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    weights = np.linspace(0, 2, 40)  # the first row counts as absent
    clf = tiny_clf(early_stopping=True, class_weight="balanced", max_epochs=3)
    plain = clone(clf).fit(texts, labels, weights)
    X = form(kind, number=list(range(40)), text=texts, label=labels)
    clf.fit(X, sample_weight=weights)
    assert equal(clf.delta_, plain.delta_)
    assert [row["valid_score"] for row in clf.log_] == [row["valid_score"] for row in plain.log_]
    assert clf.classes_.dtype == plain.classes_.dtype
    assert clf.classes_.tolist() == plain.classes_.tolist()
    assert clf.n_features_in_ == 1
    assert clf.feature_names_in_.tolist() == ["text"]
    np.testing.assert_allclose(clf.predict_proba(X), plain.predict_proba(texts), rtol=0, atol=1e-14)
    assert clf.predict(X).tolist() == plain.predict(texts).tolist()
    assert clf.score(X, labels) == plain.score(texts, labels)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", ["dataset", "generator", "folder"])
def test_pairs_and_labels_passed(
    kind: str, form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    X = form(kind, text_a=texts, text_b=texts[::-1])
    pairs = list(zip(texts, texts[::-1], strict=True))
    clf, plain = tiny_clf().fit(X, labels), tiny_clf().fit(pairs, labels)
    assert equal(clf.delta_, plain.delta_)
    assert clf.feature_names_in_.tolist() == ["text_a", "text_b"]
    assert (clf.predict(X) == plain.predict(pairs)).all()
    turned = clf.set_params(text_column=["text_b", "text_a"])
    with pytest.raises(ValueError, match="feature names"):
        turned.predict(X)


@pytest.mark.parametrize("kind", ["dataset", "stream", "file"])
def test_a_validation_set_may_be_a_table(
    kind: str, form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    X = form("dataset", text=texts, label=labels)
    valid = form(kind, text=texts[:20], label=labels[:20])
    plain = tiny_clf().fit(texts, labels, X_val=texts[:20], y_val=labels[:20])
    clf = tiny_clf().fit(X, X_val=valid)
    assert equal(clf.delta_, plain.delta_)
    assert clf.history_["valid_score"].tolist() == plain.history_["valid_score"].tolist()


def test_partial_fit_takes_the_labels_of_a_table(
    form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    X, classes = form("dataset", text=texts, label=labels), sorted(set(labels))
    plain = tiny_clf().partial_fit(texts, labels, classes)
    assert equal(tiny_clf().partial_fit(X, classes=classes).delta_, plain.delta_)


def test_a_stream_is_read_once(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    read: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
            read.append(i)
            yield {"text": text, "label": label}

    X = datasets.IterableDataset.from_generator(rows)
    clf = tiny_clf(early_stopping=True).fit(X)
    assert read == list(range(40))
    clf.predict(X)
    assert read == [*range(40), *range(40)]


def test_columns_are_compared_before_a_stream_is_read(
    form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    read: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        read.append(1)
        yield from [{"sentence": "good", "label": "a"}, {"sentence": "bad", "label": "b"}]

    kinds = {name: datasets.Value("string") for name in ("sentence", "label")}
    X = datasets.IterableDataset.from_generator(rows, features=datasets.Features(kinds))
    table = form("dataset", text=texts, label=labels)
    with pytest.raises(ValueError, match="feature names"):
        tiny_clf().fit(table, X_val=X)
    clf = tiny_clf().partial_fit(table, classes=sorted(set(labels)))
    with pytest.raises(ValueError, match="feature names"):
        clf.partial_fit(X)
    assert not read


def test_nothing_stays_on_disk(
    tmp_path: Path,
    form: Any,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr(tables.tempfile, "tempdir", str(own))
    X = form("generator", text=texts, label=labels)
    clf = tiny_clf().fit(X)
    clf.predict(X)
    with pytest.raises(ValueError, match="not a column of X"):
        clf.set_params(label_column="colour").fit(X)
    gc.collect()
    assert not list(own.iterdir())


def test_class_labels_are_the_numbers_as_stored(tiny_clf: Clf, texts: list[str]) -> None:
    numbers = [len(text) % 3 for text in texts]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    X = datasets.Dataset.from_dict({"text": texts, "label": numbers}, features=features)
    clf = tiny_clf().fit(X)
    assert clf.classes_.tolist() == [0, 1, 2]
    assert clf.score(X, X["label"]) == clf.score(texts, numbers)
    unknown = datasets.Dataset.from_dict({"text": texts, "label": [-1] * 40}, features=features)
    for table in (unknown, unknown.to_iterable_dataset()):
        with pytest.raises(ValueError, match="-1, which marks rows without a label"):
            tiny_clf().fit(table)


def test_a_transform_of_the_users_own_is_applied(
    form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    X = form("dataset", text=[text.upper() for text in texts], label=labels, other=texts)
    X = X.with_transform(lambda rows: {"text": rows["other"], "label": rows["label"]})
    assert equal(tiny_clf().fit(X).delta_, tiny_clf().fit(texts, labels).delta_)


@pytest.mark.usefixtures("small_chunks")
def test_progress_is_shown_when_asked_for(
    form: Any, tiny_clf: Clf, texts: list[str], labels: list[str], capsys: Any
) -> None:
    X = form("dataset", text=texts, label=labels)
    clf = tiny_clf().fit(X)
    clf.predict(X)
    assert "predict" not in capsys.readouterr().err
    clf.set_params(verbose=1).predict(X)
    shown = capsys.readouterr().err
    assert "predict" in shown
    assert "40/40" in shown


def test_parameters_are_saved(
    tmp_path: Path, form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    import sklearn_lntune

    clf = tiny_clf(text_column=("a", "b"), label_column="c")
    clf.fit(form("dataset", a=texts, b=texts, c=labels)).save(tmp_path / "saved")
    back = sklearn_lntune.load(tmp_path / "saved")
    assert (back.text_column, back.label_column) == (("a", "b"), "c")
    assert back.feature_names_in_.tolist() == ["a", "b"]


# -- columns ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["title", "text"], ("text",)),
        (["text_a", "text_b", "note"], ("text_a", "text_b")),
        (["sentence"], ("sentence",)),
        (["sentence", "label"], ("sentence",)),
    ],
)
@pytest.mark.parametrize("kind", FORMS)
def test_columns_found(names: list[str], columns: tuple[str, ...], kind: str, form: Any) -> None:
    X = form(kind, **{name: ["a"] * 20 for name in names}, number=list(range(20)))
    found = TextInput().open(X).examples
    assert isinstance(found, TextStream)
    assert found.columns == columns


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({}, ValueError, r"does not know .*\['one', 'two', 'number'\], of which \['one', 'two'\]"),
        ({"text_column": "three"}, ValueError, r"'three' is not a column .*'one', 'two', 'number'"),
        ({"text_column": ("one", "three")}, ValueError, "is not a column"),
        ({"text_column": "number"}, TypeError, "'number' of X does not hold strings"),
        ({"text_column": ("one", "two", "one")}, ValueError, "or two names for pairs"),
        ({"text_column": 3}, ValueError, "text_column must be"),
        ({"text_column": "one", "label_column": 3}, ValueError, "label_column must be"),
        ({"text_column": "one"}, ValueError, "label_column='label' is not a column .*or pass y"),
    ],
)
@pytest.mark.parametrize("kind", ["dataset", "generator", "file"])
def test_wrong_columns_are_told_before_any_work(
    params: dict[str, Any], error: type[Exception], message: str, kind: str, form: Any
) -> None:
    X = form(kind, one=["a"] * 20, two=["b"] * 20, number=list(range(20)))
    clf = LNTunedTransformerClassifier("no such backbone", **params)
    with pytest.raises(error, match=message):
        clf.fit(X)
    assert not hasattr(clf, "n_features_in_")


def test_cells_that_are_no_text_are_named(tiny_clf: Clf) -> None:
    words: list[Any] = ["good", "bad"] * 10
    for row, cell, message in ((17, None, "missing text in row 17"), (3, 5, "not of one kind")):
        cells = [*words[:row], cell, *words[row + 1 :]]
        X = datasets.IterableDataset.from_generator(
            lambda cells=cells: ({"text": each, "label": i % 2} for i, each in enumerate(cells))
        )
        with pytest.raises((ValueError, TypeError), match=message):
            tiny_clf().fit(X)


@pytest.mark.parametrize("kind", ["dataset", "stream", "file", "folder"])
def test_half_a_utf16_pair_in_a_table_names_row_and_column(
    kind: str, tiny_clf: Clf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "READ_ROWS", 4)
    content = [b"good"] * 10 + [b"a\xed\xa0\x80"]
    ends = pa.array(np.cumsum([0, *map(len, content)]), pa.int32()).buffers()[1]
    cells = pa.Array.from_buffers(pa.string(), 11, [None, ends, pa.py_buffer(b"".join(content))])
    table = pa.table({"text": cells, "label": ["a", "b"] * 5 + ["a"]})
    if kind in ("file", "folder"):
        parquet.write_table(table.slice(0, 7), tmp_path / "0.parquet")
        parquet.write_table(table.slice(7), tmp_path / "1.parquet")
        X: Any = tmp_path
        if kind == "file":
            parquet.write_table(table, tmp_path / "0.parquet")
            X = tmp_path / "0.parquet"
    else:
        X = datasets.Dataset(table)
        X = X.to_iterable_dataset() if kind == "stream" else X
    fitted = tiny_clf().fit(["a", "b"], ["a", "b"])
    for call in (tiny_clf().fit, fitted.predict):
        with pytest.raises(ValueError, match="row 10 of .*X holds bytes that are not text"):
            call(X)


def test_half_a_utf16_pair_from_python_names_row_and_column(tiny_clf: Clf) -> None:
    rows = [{"text": "good", "label": i % 2} for i in range(10)] + [{"text": "\ud83d", "label": 0}]
    stream = datasets.IterableDataset.from_generator(lambda: iter(rows))
    fitted = tiny_clf().fit(["a", "b"], ["a", "b"])
    for call in (tiny_clf().fit, fitted.predict):
        with pytest.raises(ValueError, match="row 10 of column 'text' of X holds half of a UTF-16"):
            call(stream)


def test_half_a_utf16_pair_made_by_a_transform_is_named(form: Any, tiny_clf: Clf) -> None:
    X = form("dataset", text=["good", "bad"], label=["a", "b"])
    X = X.with_transform(lambda rows: {**rows, "text": [text + "\ud83d" for text in rows["text"]]})
    with pytest.raises(ValueError, match="row 0 of column 'text' of X holds half of a UTF-16"):
        tiny_clf().fit(X)


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string()])
@pytest.mark.parametrize("form", ["file", "dataset", "stream", "indexed"])
def test_every_type_of_string_is_text(
    kind: pa.DataType, form: str, tiny_clf: Clf, tmp_path: Path, texts: list[str], labels: list[str]
) -> None:
    table = pa.table({"text": pa.array(texts, kind), "label": pa.array(labels, kind)})
    X: Any = tmp_path / "all.parquet"
    try:
        if form == "file":
            parquet.write_table(table, X)
        else:
            X = datasets.Dataset(table)
    except (ValueError, pa.ArrowNotImplementedError) as error:
        pytest.skip(f"an older version: {error}")
    if form != "file":
        X = X.to_iterable_dataset() if form == "stream" else X
        X = X.select(range(40)) if form == "indexed" else X
    assert equal(tiny_clf().fit(X).delta_, tiny_clf().fit(texts, labels).delta_)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", "b", None] * 5, "has rows without a label: row 2 is None"),
        ([1.0, 2.0, float("nan")] * 5, "has rows without a label: row 2 is nan"),
        ([["a"]] * 15, "must hold one label per row"),
        ([{"a": 1}] * 15, "must hold one label per row"),
        ([0.5, 1.0, 2.0] * 5, "of X holds numbers that are not whole"),
        ([b"a", b"b", b"c"] * 5, "of X holds bytes"),
        ([dt.date(2020, 1, 1), dt.date(2021, 1, 1), dt.date(2022, 1, 1)] * 5, "of X holds date"),
        (["a"] * 15, "of X holds 1 class only"),
    ],
)
@pytest.mark.parametrize("kind", ["dataset", "stream", "file"])
def test_bad_labels(cells: list[Any], message: str, kind: str, form: Any) -> None:
    X = form(kind, text=["a"] * 15, label=cells)
    clf = LNTunedTransformerClassifier("no such backbone")
    with pytest.raises(ValueError, match=f"column 'label' {message}"):
        clf.fit(X)


@pytest.mark.parametrize(
    ("cells", "classes", "kind"),
    [
        (pa.array([True, False]), [False, True], "b"),
        (pa.array([2, 1], pa.int8()), [1, 2], "i"),
        (pa.array([2**63 + 1, 5], pa.uint64()), [5, 2**63 + 1], "u"),
        (pa.array([2.0, 1.0]), [1.0, 2.0], "f"),
        (pa.array(["b", "a"]).dictionary_encode(), ["a", "b"], "U"),
    ],
)
@pytest.mark.parametrize("form", ["dataset", "stream", "file"])
def test_labels_have_the_type_of_their_column(
    cells: pa.Array, classes: list[Any], kind: str, form: str, tmp_path: Path
) -> None:
    table = pa.table({"text": ["a", "b"], "label": cells})
    X: Any = datasets.Dataset(table)
    if form == "file":
        X = tmp_path / "a.parquet"
        parquet.write_table(table, X)
    elif form == "stream":
        X = X.to_iterable_dataset()
    task = OneLabel.from_targets(TextInput().open(X).for_training()[1])
    assert task.classes.tolist() == classes
    assert task.classes.dtype.kind == kind


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize(
    ("columns", "params", "message"),
    [
        (
            ("text", "label"),
            {},
            r"'label' is that of the .*X\['text'\].*X\['label'\] as y",
        ),
        (("a", "b"), {"label_column": "b"}, r"and 'b' is that of the labels .*X\['a'\]"),
        (("a", "b"), {"text_column": "b"}, r"text_column='b' chooses .* yourself: X\['b'\]"),
        (("a", "b"), {"text_column": ("b", "a")}, r"yourself: X\[\['b', 'a'\]\]"),
    ],
)
def test_columns_of_a_frame_are_not_chosen_but_it_says_so(
    make: Any, columns: tuple[str, str], params: dict[str, Any], message: str
) -> None:
    clf = LNTunedTransformerClassifier("no such backbone", **params)
    X = make({name: ["one", "two"] for name in columns})
    with pytest.raises(ValueError, match=message):
        clf.fit(X, ["p", "n"])


def test_a_frame_of_the_chosen_columns_is_taken() -> None:
    frame = pd.DataFrame({"a": ["one"], "b": ["two"]})
    both, one = TextInput(("a", "b")).open(frame), TextInput("text", "a").open(frame[["a"]])
    assert both.examples.held.rows == [("one", "two")]
    assert one.examples.held.rows == ["one"]


def test_empty_tables(tiny_clf: Clf, tmp_path: Path, texts: list[str], labels: list[str]) -> None:
    empty = datasets.Dataset.from_dict({"text": texts[:1], "label": labels[:1]}).select([])
    nothing = datasets.IterableDataset.from_generator(lambda: iter([]))
    clf = tiny_clf().fit(texts, labels)
    for X in (empty, nothing):
        with pytest.raises(ValueError, match="no texts"):
            tiny_clf().fit(X)
        with pytest.raises(ValueError, match="no texts"):
            clf.predict(X)


def test_paths_that_are_no_parquet(tiny_clf: Clf, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is neither a Parquet file nor a folder with one"):
        tiny_clf().fit(tmp_path, ["a"])
    with pytest.raises(ValueError, match="is neither a Parquet file nor a folder with one"):
        tiny_clf().fit("nowhere.parquet", ["a"])
    (tmp_path / "odd.parquet").write_text("text")
    with pytest.raises(ValueError, match="odd.parquet is not a Parquet file"):
        tiny_clf().fit(tmp_path, ["a"])
    for name, column in (("a", "text"), ("odd", "other")):
        table = pa.table({column: ["a"]})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match="differ in their columns"):
        tiny_clf().fit(tmp_path, ["a"])
    with pytest.raises(TypeError, match="got str"):
        tiny_clf().fit("a text", ["a"])


def test_rows_and_labels_must_match_in_number(
    form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        tiny_clf().fit(form("stream", text=texts), labels[:-1])


def test_categories_are_text(tiny_clf: Clf, tmp_path: Path, texts: list[str]) -> None:
    frame = pd.DataFrame({"text": pd.Categorical(texts), "label": [i % 2 for i in range(40)]})
    frame.to_parquet(tmp_path / "a.parquet")
    clf = tiny_clf().fit(tmp_path)
    assert equal(clf.delta_, tiny_clf().fit(texts, frame["label"]).delta_)


def test_a_fit_on_texts_predicts_tables_of_any_name(
    form: Any, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(texts, labels)
    assert (clf.predict(form("dataset", sentence=texts)) == clf.predict(texts)).all()
    with pytest.raises(ValueError, match="2 features, but .* is expecting 1 features"):
        clf.predict(form("dataset", text_a=texts, text_b=texts))


def test_large_lists_are_not_copied() -> None:
    for rows in (["a", "b"], [("a", "b")]):
        assert check_texts(rows) is rows
