"""Sentence pairs whose texts are read separately, through everything that an estimator can do."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import moved
from networks import EXACT, tuned_by_hand
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch.nn.functional import cosine_similarity
from transformers import AutoTokenizer

from sklearn_lntune import (
    DamagedFileError,
    DeltaBank,
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    fused_fits,
    load,
)
from sklearn_lntune.inspection import explain
from sklearn_lntune.network.pooling import compare
from sklearn_lntune.persistence.document import Document

Clf = Callable[..., Any]
SEPARATE = {"pairs": "separate"}


@pytest.fixture(scope="module")
def pairs(texts: list[str]) -> list[tuple[str, str]]:
    """Every third text beside itself, the others beside another one."""
    return [(text, text if i % 3 == 0 else texts[i - 1]) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def same(pairs: list[tuple[str, str]]) -> list[str]:
    return ["same" if one == other else "other" for one, other in pairs]


def logits_by_hand(clf: Any, pairs: list[tuple[str, str]]) -> np.ndarray:
    """One text after the other, through the model with the gains and biases copied in."""
    model, learnt = tuned_by_hand(clf)
    tokenizer = AutoTokenizer.from_pretrained(clf.backbone)
    with torch.no_grad():
        rows = []
        for pair in pairs:
            one, other = (
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
                for text in pair
            )
            one, other = (v * len(v) ** 0.5 / v.norm() for v in (one, other))
            vector = 0.1 * torch.cat([(one - other).abs(), one * other])
            rows.append(learnt["head/weight"] @ vector + learnt["head/bias"])
    return torch.stack(rows).numpy()


def test_the_products_are_the_cosine() -> None:
    one, other = torch.randn(2, 5, 8, dtype=torch.float64)
    found = compare(100 * one, other)
    assert found.shape == (5, 16)
    torch.testing.assert_close(found[:, 8:].mean(1) / 0.1, cosine_similarity(one, other))
    torch.testing.assert_close(compare(other, one), compare(one, other))
    assert not compare(one, one)[:, :8].any()


def test_predictions_are_those_of_a_plain_loop(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    clf = moved(tiny_clf(max_epochs=1, **SEPARATE).fit(pairs, same))
    logits = logits_by_hand(clf, pairs)
    expected = logits[:, 1] - logits[:, 0]
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(clf.decision_function(pairs), expected, **EXACT)
    vectors = clf.embed(pairs)
    assert vectors.shape == (len(pairs), clf.embedding_size_)
    assert clf.embedding_size_ == len(clf.get_feature_names_out()) == 32
    np.testing.assert_array_equal(clf.transform(pairs), vectors)
    swapped = [(other, one) for one, other in pairs]  # the order tells nothing
    np.testing.assert_allclose(clf.decision_function(swapped), expected, **EXACT)


def test_few_pairs_are_enough_to_tell_equal_texts(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    half = len(pairs) // 2
    clf = tiny_clf(max_epochs=20, lr=1e-2, head_lr=1e-1, **SEPARATE)
    clf.fit(pairs[:half], same[:half])
    assert clf.score(pairs[half:], same[half:]) == 1


def test_single_texts_are_read_as_ever(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    one = tiny_clf(max_epochs=1, **SEPARATE).fit(texts, labels)
    other = tiny_clf(max_epochs=1).fit(texts, labels)
    assert (one.stride_, one.window_pooling_) == (None, None)
    np.testing.assert_array_equal(one.predict_proba(texts), other.predict_proba(texts))


def test_the_texts_of_a_table_are_read_alike(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str], tmp_path: Path
) -> None:
    frame = pd.DataFrame(pairs, columns=["text_a", "text_b"]).assign(label=same)
    frame.to_parquet(tmp_path / "rows.parquet")
    expected = tiny_clf(max_epochs=1, **SEPARATE).fit(pairs, same)
    for X in (datasets.Dataset.from_pandas(frame), tmp_path / "rows.parquet"):
        clf = tiny_clf(max_epochs=1, **SEPARATE).fit(X)
        np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(pairs), **EXACT)


@pytest.mark.filterwarnings("ignore:.*were cut:UserWarning")
def test_a_text_is_cut_by_itself(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_clf().backbone)
    flat = [text for pair in pairs for text in pair]
    n_long = sum(len(tokenizer(text)["input_ids"]) > 6 for text in flat)
    assert n_long
    clf = tiny_clf(max_epochs=1, max_length=6, **SEPARATE)
    with pytest.warns(UserWarning, match=rf"^{n_long} of {len(flat)} texts are longer than"):
        clf.fit(pairs, same)
    # What is beyond the limit of one text leaves the other as it is.
    longer = [(one + " blue" * 20, other) for one, other in pairs if len(one.split()) > 6]
    whole = [pair for pair in pairs if len(pair[0].split()) > 6]
    np.testing.assert_array_equal(clf.predict_proba(longer), clf.predict_proba(whole))


def test_what_is_saved_comes_back(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str], tmp_path: Path
) -> None:
    clf = moved(tiny_clf(max_epochs=1, **SEPARATE).fit(pairs, same))
    clf.save(tmp_path / "saved.zip")
    expected = clf.predict_proba(pairs)
    for back in (load(tmp_path / "saved.zip"), pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):
        assert (back.stride_, back.window_pooling_) == (0, "compared")
        assert back.get_params() == clf.get_params()
        np.testing.assert_array_equal(back.predict_proba(pairs), expected)
    files = clf._files(clf._document(None, None, ()), "here", False)
    assert b"the texts of a pair are read one by one" in files["README.md"]


@pytest.mark.parametrize("change", [{"window_pooling": "mean"}, {"stride": 2}])
def test_a_forged_file_is_refused(
    change: Any, tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1, **SEPARATE).fit(pairs, same)
    files = clf._document(None, None, ()).files()
    config = json.loads(files["config.json"])
    config["windows"] |= change
    files["config.json"] = json.dumps(config).encode()
    with pytest.raises(DamagedFileError, match="do not describe a classifier"):
        Document.read(files, "here")


def test_single_texts_cannot_be_compared(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1, **SEPARATE).fit(pairs, same)
    clf.n_features_in_ = 1
    with pytest.raises(ValueError, match=r"cannot be saved: window_pooling='compared', with 1"):
        clf.save("nowhere")


def test_fused_fits_learn_what_they_learn_alone(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    grid = {"label_smoothing": [0.0, 0.2], "pairs": ["joined", "separate"]}

    def search() -> Any:
        clf = tiny_clf(max_epochs=2, early_stopping=True, validation_fraction=0.3)
        found = GridSearchCV(clf, grid, cv=2, scoring="neg_log_loss", error_score="raise")
        return found.fit(pairs, same).cv_results_["mean_test_score"]

    alone = search()
    with fused_fits():
        together = search()
    assert len(set(alone.round(12))) == 4
    np.testing.assert_allclose(together, alone, rtol=1e-9)


def test_a_bank_holds_both_kinds(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    kinds: list[dict[str, Any]] = [{}, SEPARATE, {**SEPARATE, "max_length": 30}]
    members = {
        str(seed): moved(tiny_clf(max_epochs=1, random_state=seed, **kind).fit(pairs, same))
        for seed, kind in enumerate(kinds)
    }
    bank = DeltaBank(members)
    tasks = [str(row % len(members)) for row in range(len(pairs))]
    mixed = bank.predict_proba(pairs, tasks=tasks)
    for name, found in bank.predict_proba(pairs).items():
        expected = members[name].predict_proba(pairs)
        np.testing.assert_allclose(found, expected, **EXACT)
        own = [row for row, task in enumerate(tasks) if task == name]
        np.testing.assert_allclose(np.stack([mixed[row] for row in own]), expected[own], **EXACT)


def test_a_fit_goes_on_in_the_same_way_only(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    clf = tiny_clf(**SEPARATE)
    for _ in range(2):
        clf.partial_fit(pairs, same, classes=["other", "same"])
    with pytest.raises(ValueError, match=r"pairs='joined' cannot go on from a fit with pairs='sep"):
        copy.deepcopy(clf).set_params(pairs="joined").partial_fit(pairs, same)
    joined = clone(clf).set_params(pairs="joined").partial_fit(pairs, same, classes=clf.classes_)
    with pytest.raises(ValueError, match=r"pairs='separate' cannot go on from a fit with one text"):
        joined.set_params(**SEPARATE).partial_fit(pairs, same)


def test_the_words_of_both_texts_are_explained(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    clf = moved(tiny_clf(max_epochs=1, **SEPARATE).fit(pairs, same))
    rows = pairs[1:12]
    found = explain(clf, rows, target="same")
    swapped = explain(clf, [(other, one) for one, other in rows], target="same")
    alone = [explain(clf, [row], target="same")[0] for row in rows]
    for row, each, other, own in zip(rows, found, swapped, alone, strict=True):
        words = [row[side][start:end] for side, start, end in each.spans]
        assert words == [*row[0].split(), *row[1].split()]
        missing = each.output - each.at_baseline - each.attributions.sum()
        assert abs(missing) < 0.02 * np.abs(each.attributions).sum()
        assert np.abs(each.attributions).max() > 1e-4
        n = len(row[0].split())
        parts = [np.split(e.attributions, [n]) for e in (each, own)]
        parts.append(np.split(other.attributions, [len(words) - n])[::-1])
        # Between equal texts the share of each is not defined: there the distance has a kink.
        shown = [sum(part) if row[0] == row[1] else np.concatenate(part) for part in parts]
        np.testing.assert_allclose(shown[1], shown[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(shown[2], shown[0], rtol=0, atol=1e-5)


def test_numbers_and_several_labels(
    lively_backbone: Callable[..., Path], pairs: list[tuple[str, str]], same: list[str]
) -> None:
    y = np.array([float(each == "same") for each in same])
    quick: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "device": "cpu", "random_state": 0}
    reg = LNTunedTransformerRegressor(lively_backbone(), **quick, **SEPARATE).fit(pairs, y)
    assert reg.predict(pairs).shape == y.shape
    clf = LNTunedTransformerClassifier(lively_backbone(), **quick, **SEPARATE)
    marks = np.stack([y, 1 - y], axis=1).astype(int)
    assert clf.fit(pairs, marks).predict(pairs).shape == marks.shape


def test_the_files_of_sentence_transformers_decide(
    lively_backbone: Callable[..., Path],
    pairs: list[tuple[str, str]],
    same: list[str],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "sentences"
    shutil.copytree(lively_backbone(), folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True})
    )
    quick: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "device": "cpu", "random_state": 0}

    def way(backbone: Path, **params: Any) -> Any:
        clf = LNTunedTransformerClassifier(backbone, **quick, **params)
        return clf.fit(pairs, same).window_pooling_

    assert way(lively_backbone()) is None
    assert way(folder) == "compared"
    assert way(folder, pairs="joined") is None
    assert way(folder, pooling="native") is None
    # A fit goes on as it began.
    clf = LNTunedTransformerClassifier(folder, pairs="joined", **quick).fit(pairs, same)
    clf.set_params(pairs="auto", warm_start=True).fit(pairs, same)
    assert clf.window_pooling_ is None


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:# The axis name. .* will not be used:UserWarning")
def test_an_exported_graph_takes_both_texts(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="needs onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnx")
    clf = moved(tiny_clf(max_epochs=1, precision="float32", **SEPARATE).fit(pairs, same))
    clf.export_onnx(tmp_path / "clf.onnx")
    tokenizer = AutoTokenizer.from_pretrained(clf.backbone)
    session = runtime.InferenceSession(tmp_path / "clf.onnx")
    names = [each.name for each in session.get_inputs()]
    assert [each.shape for each in session.get_inputs()] == [["rows", 2, "tokens"]] * 2
    for rows in (pairs[:1], pairs[3:10]):
        flat = [text for pair in rows for text in pair]
        tokens = tokenizer(flat, padding=True, return_tensors="np")
        inputs = {name: tokens[name].reshape(len(rows), 2, -1) for name in names}
        (logits,) = session.run(None, inputs)
        assert logits.shape == (len(rows), 2)
        expected = clf.decision_function(rows)
        np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, rtol=0, atol=1e-5)


def test_what_does_not_go_together_says_so(
    tiny_clf: Clf, pairs: list[tuple[str, str]], same: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"pairs must be one of .*got 'apart'"):
        tiny_clf(pairs="apart").fit(pairs, same)
    with pytest.raises(ValueError, match=r"pairs='separate' compares two pooled vectors"):
        tiny_clf(pooling="native", **SEPARATE).fit(pairs, same)
