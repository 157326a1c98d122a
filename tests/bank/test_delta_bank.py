"""A bank answers what its classifiers answer, while it changes, within its memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sklearn_lntune import DamagedFileError, DeltaBank, LNTunedTransformerClassifier
from sklearn_lntune.bank.homes import Stack
from sklearn_lntune.inputs.base import Rows
from sklearn_lntune.network import Network
from sklearn_lntune.tuning import AdapterTuning, LayerNormTuning, LoraTuning, PrefixTuning

pytestmark = pytest.mark.filterwarnings("ignore:.*longer than max_length:UserWarning")

Clf = LNTunedTransformerClassifier
Make = Callable[..., Path]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
#: Even in float64, answers of transformers' Gemma-2 differ by this with the padding of the batch.
PADDING = 1e-6
EVERYTHING = LayerNormTuning() + PrefixTuning(2) + AdapterTuning(3) + LoraTuning(2)


def fitted(
    folder: Path, texts: Any, labels: Iterable[Any], seed: int = 0, **params: Any
) -> LNTunedTransformerClassifier:
    """A classifier whose delta is far from where it began, and its own."""
    quick = {"max_epochs": 1, "min_steps": 0, "batch_size": 40, "random_state": seed}
    exact = {"device": "cpu", "precision": "float64"}
    clf = Clf(folder, **{**quick, **exact, **params}).fit(texts, list(labels))
    random = np.random.default_rng(seed)
    clf.delta_ = {
        name: (value + 0.2 * random.standard_normal(value.shape)).astype(value.dtype)
        for name, value in clf.delta_.items()
    }
    return clf


def check(bank: DeltaBank, classifiers: Mapping[str, Clf], texts: list[Any], atol: float) -> None:
    """Both forms of both methods against the classifiers themselves."""
    expected = {name: clf.predict_proba(texts) for name, clf in classifiers.items()}
    # Logits so close that rounding decides would make labels differ.
    assert min(np.ptp(each, axis=0).max() for each in expected.values()) > 1e-4
    found = bank.predict_proba(texts)
    assert list(found) == bank.names == list(classifiers)
    for name, each in expected.items():
        np.testing.assert_allclose(found[name], each, rtol=0, atol=atol)
    frame = bank.predict(texts)
    names = [list(classifiers)[i % len(classifiers)] for i in range(len(texts))]
    mixed, labels = bank.predict_proba(texts, tasks=names), bank.predict(texts, tasks=names)
    for row, name in enumerate(names):
        np.testing.assert_allclose(mixed[row], expected[name][row], rtol=0, atol=atol)
        assert labels[row] == classifiers[name].classes_[mixed[row].argmax()]
    for name, clf in classifiers.items():
        assert frame[name].tolist() == clf.classes_[found[name].argmax(1)].tolist()
        assert bank.classes(name).tolist() == clf.classes_.tolist()


@pytest.fixture
def topics(lively_backbone: Make, texts: list[str], labels: list[str]) -> dict[str, Clf]:
    """Four classifiers of one kind with 2 to 5 classes, names in no order."""
    folder = lively_backbone()
    answers = {2: [len(text) % 2 == 0 for text in texts], 5: [len(text) % 5 for text in texts]}
    return {
        "tone": fitted(folder, texts, labels, 0),
        "even": fitted(folder, texts, answers[2], 1),
        "five": fitted(folder, texts, answers[5], 2, max_length=5),
        "again": fitted(folder, texts, labels, 3),
    }


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("family", ["bert", "llama", "modernbert", "gemma2"])
def test_a_stack_answers_as_its_classifiers(
    family: str, precision: str, lively_backbone: Make, texts: list[str], labels: list[str]
) -> None:
    folder = lively_backbone(family)
    params: list[dict[str, Any]] = [{}, {"max_length": 4}, {"tuning": EVERYTHING}]
    classifiers = {
        f"{i}": fitted(
            folder,
            texts,
            labels if i % 2 else [len(text) % 4 for text in texts],
            i,
            precision=precision,
            **params[i % 3],
        )
        for i in range(6)
    }
    bank = DeltaBank(classifiers)
    homes = {member.home for member in bank._register.view.members.values()}
    assert len(homes) == 2
    assert all(isinstance(home, Stack) for home in homes)
    atol = TOLERANCE[precision]
    check(
        bank, classifiers, [*texts, *texts[:3]], max(atol, PADDING) if family == "gemma2" else atol
    )
    if family == "gemma2":  # all padded alike: they run as one batch
        few = texts[:20]
        like = {f"{i}": fitted(folder, texts, labels, i, precision=precision) for i in range(3)}
        found = DeltaBank(like).predict_proba(few)
        for name, clf in like.items():
            np.testing.assert_allclose(found[name], clf.predict_proba(few), rtol=0, atol=atol)


def test_unlike_classifiers_live_in_one_bank(
    lively_backbone: Make, texts: list[str], labels: list[str]
) -> None:
    bert, deberta = lively_backbone(), lively_backbone("deberta-v2")
    binary = [len(text) % 2 for text in texts]
    classifiers = {
        "norms": fitted(bert, texts, labels, 0),
        "prefix": fitted(bert, texts, binary, 1, tuning="prefix+lora"),
        "cls": fitted(bert, texts, labels, 2, pooling="cls"),
        "native": fitted(bert, texts, labels, 3, pooling="native"),
        "native too": fitted(bert, texts, labels, 4, pooling="native"),
        "native binary": fitted(bert, texts, binary, 5, pooling="native"),
        "full": fitted(bert, texts, labels, 6, tuning="full"),
        "full too": fitted(bert, texts, binary, 7, tuning="full"),
        "wide": fitted(bert, texts, labels, 8, precision="float32"),
        "deberta": fitted(deberta, texts, labels, 9),
        "deberta too": fitted(deberta, texts, labels, 10),
        "deberta binary": fitted(deberta, texts, binary, 11),
    }
    bank = DeltaBank(classifiers)
    members = bank._register.view.members
    alone = {name for name, member in members.items() if not isinstance(member.home, Stack)}
    assert alone == {
        name for name in classifiers if name.split()[0] in ("native", "full", "deberta")
    }
    assert members["native"].home is members["native too"].home
    check(bank, classifiers, texts, 1e-5)
    del classifiers["wide"]
    bank.remove("wide")
    check(bank, classifiers, texts, 1e-12)


def test_pairs(lively_backbone: Make, texts: list[str], labels: list[str]) -> None:
    folder = lively_backbone()
    pairs = list(zip(texts, texts[::-1], strict=True))
    classifiers = {f"{i}": fitted(folder, pairs, labels, i) for i in range(2)}
    bank = DeltaBank(classifiers)
    check(bank, classifiers, pairs, 1e-12)
    bank.add("texts", fitted(folder, texts, labels))
    with pytest.raises(ValueError, match="'texts' was fitted on texts"):
        bank.predict(pairs)
    with pytest.raises(ValueError, match="'1' was fitted on sentence pairs"):
        bank.predict(texts[:2], tasks=["texts", "1"])
    assert len(bank.predict(texts[:2], tasks=["texts", "texts"])) == 2


def test_labels_keep_their_kind_and_rows_their_index(
    topics: dict[str, Clf], texts: list[str]
) -> None:
    bank = DeltaBank(topics)
    series = pd.Series(texts[:3], index=["x", "y", "z"])
    frame = bank.predict(series)
    assert frame.index.tolist() == ["x", "y", "z"]
    assert frame["even"].dtype == bool
    assert frame["five"].dtype.kind == "i"
    mixed = bank.predict(texts[:3], tasks=np.array(["tone", "even", "five"]))
    assert mixed.dtype == object
    assert isinstance(mixed[0], str)
    assert isinstance(mixed[1], bool | np.bool_)
    assert bank.predict(texts[:2], tasks=["tone", "again"]).dtype.kind == "U"


def test_adding_replacing_and_removing(topics: dict[str, Clf], texts: list[str]) -> None:
    bank = DeltaBank({"tone": topics["tone"]})
    (member,) = bank._register.view.members.values()
    assert member.home.capacity == 1  # a delta costs its arrays once
    for name in ("even", "five", "again"):
        bank.add(name, topics[name])
    check(bank, topics, texts, 1e-12)
    with pytest.raises(ValueError, match="has 'tone' already"):
        bank.add("tone", topics["again"])
    bank.replace("tone", topics["again"])
    check(bank, {**topics, "tone": topics["again"]}, texts, 1e-12)
    for name in ("even", "five", "tone"):
        bank.remove(name)
    check(bank, {"again": topics["again"]}, texts, 1e-12)
    assert bank._register.view.members["again"].home.capacity <= 2  # the room went, too
    assert "tone" not in bank
    assert len(bank) == 1
    bank.remove("again")
    assert not bank._register._homes
    with pytest.raises(ValueError, match="holds no classifier"):
        bank.predict(texts)
    bank.add("tone", topics["tone"])
    check(bank, {"tone": topics["tone"]}, texts, 1e-12)


def test_places_are_used_again_and_never_while_somebody_reads(
    lively_backbone: Make, texts: list[str], labels: list[str]
) -> None:
    a, b, c = (fitted(lively_backbone(), texts, labels, seed) for seed in range(3))
    bank = DeltaBank({"a": a, "b": b})
    reading = bank._register.view
    stack = reading.members["a"].home
    bank.replace("a", c)  # needs a third place: the first is still read
    assert stack.capacity == 3
    before = dict(bank._register.view.members)
    found = dict(stack.logits(Rows(texts), {reading.members["a"]: np.arange(len(texts))}))
    expected = DeltaBank({"a": a}).predict_proba(texts)["a"]
    logits = found[reading.members["a"]]
    np.testing.assert_allclose(
        np.exp(logits) / np.exp(logits).sum(1, keepdims=True), expected, rtol=0, atol=1e-12
    )
    first = reading.members["a"].slot.number
    del reading, found, before
    bank.replace("b", a)  # now the first is free
    assert bank._register.view.members["b"].slot.number == first
    assert stack.capacity == 3
    check(bank, {"a": c, "b": a}, texts, 1e-12)


def test_threads_predict_while_the_bank_changes(topics: dict[str, Clf], texts: list[str]) -> None:
    one, other = topics["tone"], topics["again"]
    bank = DeltaBank({"steady": topics["even"], "x": one, "y": one})
    steady = topics["even"].predict_proba(texts)
    either = [clf.predict_proba(texts) for clf in (one, other)]
    done = threading.Event()

    def serve() -> int:
        rounds = 0
        while not done.is_set() or rounds == 0:
            found = bank.predict_proba(texts)
            np.testing.assert_allclose(found["steady"], steady, rtol=0, atol=1e-12)
            for name in found.keys() & {"x", "y", "new"}:
                gaps = [np.abs(found[name] - each).max() for each in either]
                assert min(gaps) < 1e-12
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as threads:
        serving = [threads.submit(serve) for _ in range(3)]
        for i in range(30):
            bank.replace("x", (one, other)[i % 2])
            bank.replace("y", (other, one)[i % 2])
            bank.add("new", other)
            bank.remove("new")
        done.set()
        assert min(each.result() for each in serving) > 0


def test_what_is_refused(
    lively_backbone: Make, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = fitted(lively_backbone(), texts, labels)
    bank = DeltaBank({"topic": clf})
    for tasks in ("topic", ["topic"] * 3, np.array("topic"), [["topic"], ["topic", "other"]]):
        with pytest.raises(ValueError, match="one name for each row of X \\(2\\)"):
            bank.predict(texts[:2], tasks=tasks)
    with pytest.raises(
        ValueError, match="no classifier called \\['other'\\]; it has \\['topic'\\]"
    ):
        bank.predict(texts[:2], tasks=["topic", "other"])
    for change in (bank.remove, bank.classes, lambda name: bank.replace(name, clf)):
        with pytest.raises(ValueError, match="no classifier called"):
            change("other")
    with pytest.raises(TypeError, match="pass its last step"):
        bank.add("other", object())
    with pytest.raises(TypeError, match="names of classifiers are strings"):
        bank.add(3, clf)
    with pytest.raises(ValueError, match="not fitted"):
        bank.add("other", Clf())
    with pytest.raises(TypeError, match="mapping of names"):
        DeltaBank([clf])
    with pytest.raises(ValueError, match="of no folder"):
        bank.reload("topic")
    with pytest.raises(ValueError, match="is none"):
        DeltaBank.from_folder(tmp_path / "nothing")
    with pytest.raises(ValueError, match="max_memory"):
        DeltaBank.from_folder(tmp_path, max_memory=0)
    assert bank.names == ["topic"]  # as before


# -- folders -------------------------------------------------------------------------


@pytest.fixture
def saved(topics: dict[str, Clf], tmp_path: Path) -> Path:
    """The classifiers as files and folders, in the order of their names."""
    for i, (name, clf) in enumerate(topics.items()):
        clf.save(tmp_path / (f"{name}.zip" if i % 2 else name))
    (tmp_path / "notes.txt").write_text("not a classifier")
    (tmp_path / "empty").mkdir()
    return tmp_path


def in_memory(bank: DeltaBank) -> set[str]:
    return set(bank._register.view.members)


def test_a_folder_is_read_as_it_is_needed(
    saved: Path, topics: dict[str, Clf], texts: list[str]
) -> None:
    bank = DeltaBank.from_folder(saved)
    assert bank.names == sorted(topics)
    assert not in_memory(bank)
    bank.predict(texts[:3], tasks=["tone", "tone", "five"])
    assert in_memory(bank) == {"tone", "five"}
    assert repr(bank) == "DeltaBank of 4 classifiers, 2 in memory"
    check(bank, {name: topics[name] for name in sorted(topics)}, texts, 1e-12)


def test_the_least_used_are_dropped(saved: Path, topics: dict[str, Clf], texts: list[str]) -> None:
    largest = max(sum(v.nbytes for v in clf.delta_.values()) for clf in topics.values())
    # Room for two files of about this size.
    bank = DeltaBank.from_folder(saved, max_memory=int(2.9 * largest))

    def ask(*names: str) -> None:
        labels = bank.predict(texts[: len(names)], tasks=list(names))
        expected = [topics[n].predict([t])[0] for n, t in zip(names, texts, strict=False)]
        assert labels.tolist() == expected

    ask("tone")
    ask("even")
    ask("tone")
    ask("five")
    assert in_memory(bank) == {"tone", "five"}
    ask("even", "again")
    assert in_memory(bank) == {"even", "again"}
    for name, found in bank.predict_proba(texts).items():  # by portions
        np.testing.assert_allclose(found, topics[name].predict_proba(texts), rtol=0, atol=1e-12)
    assert len(in_memory(bank)) == 2
    ask("tone", "even", "five")  # more than there is room for, and yet answered
    assert in_memory(bank) == {"tone", "even", "five"}
    ask("again")
    assert len(in_memory(bank)) <= 2
    assert all(member.home.capacity <= 4 for member in bank._register.view.members.values())


def test_all_tasks_within_memory_need_no_more_room(
    saved: Path, topics: dict[str, Clf], texts: list[str]
) -> None:
    largest = max(sum(v.nbytes for v in clf.delta_.values()) for clf in topics.values())
    bank = DeltaBank.from_folder(saved, max_memory=int(2.9 * largest))
    for _ in range(2):
        assert bank.predict(texts).shape == (len(texts), 4)
        (stack,) = {member.home for member in bank._register.view.members.values()}
        assert stack.capacity == 2


def test_a_damaged_file_fails_only_who_needs_it(
    saved: Path, topics: dict[str, Clf], texts: list[str]
) -> None:
    file = saved / "even.zip"
    whole = file.read_bytes()
    bank = DeltaBank.from_folder(saved)
    file.write_bytes(whole.replace(b"layernorm", b"layernorn", 1))
    bank.predict(texts[:2], tasks=["tone", "five"])
    with pytest.raises(DamagedFileError, match="even.zip"):
        bank.predict(texts[:2], tasks=["tone", "even"])
    with pytest.raises(DamagedFileError):
        bank.predict(texts)
    bank.predict(texts[:1], tasks=["tone"])
    file.write_bytes(whole)
    check(bank, {name: topics[name] for name in sorted(topics)}, texts, 1e-12)


def test_reload(saved: Path, topics: dict[str, Clf], texts: list[str]) -> None:
    bank = DeltaBank.from_folder(saved)
    before = bank.predict_proba(texts)["even"]
    file = saved / "even.zip"
    topics["tone"].save(file)
    assert np.array_equal(bank.predict_proba(texts)["even"], before)  # until it is told
    bank.reload("even")
    now = {**topics, "even": topics["tone"]}
    check(bank, {name: now[name] for name in sorted(now)}, texts, 1e-12)
    file.write_bytes(b"damaged")
    with pytest.raises(DamagedFileError):
        bank.reload("even")
    check(bank, {name: now[name] for name in sorted(now)}, texts, 1e-12)  # the old one stays
    topics["five"].save(saved / "new.zip")
    with pytest.raises(ValueError, match="no classifier called"):
        bank.classes("new")
    bank.reload("new")
    assert bank.classes("new").tolist() == topics["five"].classes_.tolist()
    with pytest.raises(ValueError, match="no saved classifier 'never'"):
        bank.reload("never")
    bank.remove("new")
    assert (saved / "new.zip").exists()
    topics["five"].save(saved / "even")
    with pytest.raises(ValueError, match="both be called 'even'"):
        DeltaBank.from_folder(saved)


def test_who_takes_turns_is_compiled_if_it_asks(
    tiny_backbone: Make, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []
    monkeypatch.setattr(Network, "compile_body", lambda self: compiled.append(self.n_fits))
    monkeypatch.setattr("sklearn_lntune.backbone.placement.has_compiler", lambda: True)
    plain = fitted(tiny_backbone(), texts, labels, pooling="native")
    asks = fitted(tiny_backbone(), texts, labels, pooling="native").set_params(compile=True)
    bank = DeltaBank({"plain": plain})
    assert compiled == []
    bank.add("asks", asks)
    assert compiled == [1]
    np.testing.assert_array_equal(bank.predict_proba(texts)["asks"], plain.predict_proba(texts))
