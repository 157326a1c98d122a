"""Texts longer than the model, in windows, through everything that an estimator can do."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS, moved
from hypothesis import given
from hypothesis import strategies as st
from networks import EXACT, Make, build, built_in_methods, scatter, tuned_by_hand
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from transformers import AutoTokenizer

from sklearn_lntune import DeltaBank, fused_fits, load
from sklearn_lntune.backbone import activation_cache, placement
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.network import Batch, Network, computing
from sklearn_lntune.network import network as network_module
from sklearn_lntune.network.batch import Windows
from sklearn_lntune.tuning import LayerNormTuning

Clf = Callable[..., Any]
#: Of a window, with its two special tokens; and how many tokens neighbours share.
LENGTH, STRIDE = 10, 3
WINDOWS = {"long_texts": "windows", "max_length": LENGTH, "stride": STRIDE}
POOLINGS = ("mean", "max", "attention")


@pytest.fixture(scope="module")
def long() -> list[str]:
    """Texts of one to seven windows."""
    return [
        " ".join(WORDS[(5 * i + j) % len(WORDS)] for j in range(1 + 13 * i % 47)) for i in range(24)
    ]


@pytest.fixture(scope="module")
def topics(long: list[str]) -> list[str]:
    return [["blue", "green", "red"][len(text) % 3] for text in long]


def cut_by_hand(tokenizer: Any, text: str) -> list[list[int]]:
    first, *tokens, last = tokenizer(text)["input_ids"]
    starts = range(0, max(len(tokens) - STRIDE, 1), LENGTH - 2 - STRIDE)
    return [[first, *tokens[at : at + LENGTH - 2], last] for at in starts]


def logits_by_hand(clf: Any, texts: Sequence[str]) -> np.ndarray:
    """One window after the other, through the model with the gains and biases copied in."""
    model, learnt = tuned_by_hand(clf)
    tokenizer = AutoTokenizer.from_pretrained(clf.backbone)
    with torch.no_grad():
        rows = []
        for text in texts:
            vectors = torch.stack(
                [
                    model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
                    for ids in cut_by_hand(tokenizer, text)
                ]
            )
            if clf.window_pooling_ == "mean":
                vector = vectors.mean(0)
            elif clf.window_pooling_ == "max":
                vector = vectors.amax(0)
            else:
                scores = vectors @ learnt["head/query"] / vectors.shape[1] ** 0.5
                vector = scores.softmax(0) @ vectors
            rows.append(learnt["head/weight"] @ vector + learnt["head/bias"])
    return torch.stack(rows).numpy()


def card_of(clf: Any) -> str:
    found: bytes = clf._files(clf._document(None, None, ()), "here", False)["README.md"]
    return found.decode()


@contextlib.contextmanager
def sizes_of_passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Padded tokens of each pass through a backbone."""
    found: list[int] = []
    run = Network._run

    def noted(self: Any, batch: Any) -> Any:
        found.append(batch.inputs["attention_mask"].numel())
        return run(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "_run", noted)
        yield found


# -- the same numbers as by hand ---------------------------------------------------------


@pytest.mark.parametrize("window_pooling", POOLINGS)
def test_predictions_are_those_of_a_plain_loop(
    window_pooling: str, tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1, window_pooling=window_pooling, **WINDOWS)
    moved(clf.fit(long, topics))
    assert ("head/query" in clf.delta_) == (window_pooling == "attention")
    expected = logits_by_hand(clf, long)
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(clf.decision_function(long), expected, **EXACT)
    vectors = clf.embed(long)
    assert vectors.shape == (len(long), clf.embedding_size_)
    logits = vectors @ clf.delta_["head/weight"].T + clf.delta_["head/bias"]
    np.testing.assert_allclose(logits, expected, **EXACT)
    np.testing.assert_array_equal(clf.transform(long), vectors)
    np.testing.assert_allclose(clf.net().predict_proba(long), clf.predict_proba(long), **EXACT)


@pytest.mark.parametrize("window_pooling", POOLINGS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_texts_that_fit_learn_and_predict_bit_for_bit_as_if_truncated(
    precision: str, window_pooling: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    options = {"max_length": 12, "precision": precision}
    plain = tiny_clf(**options).fit(texts, labels)
    cut = tiny_clf(**options, long_texts="windows", window_pooling=window_pooling)
    cut.fit(texts, labels)
    query = cut.delta_.pop("head/query", np.zeros(1))
    assert not query.any()
    assert cut.delta_.keys() == plain.delta_.keys()
    for name, value in plain.delta_.items():
        np.testing.assert_array_equal(cut.delta_[name], value, err_msg=name)
    if window_pooling != "attention":
        np.testing.assert_array_equal(cut.predict_proba(texts), plain.predict_proba(texts))


def test_truncation_is_the_default_and_as_before(
    tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1, max_length=LENGTH)
    assert (clf.long_texts, clf.stride, clf.window_pooling) == ("truncate", 0, "mean")
    with pytest.warns(UserWarning, match=r"longer than max_length=10 tokens and were cut"):
        clf.fit(long, topics)
    assert clf.stride_ is None
    assert clf.window_pooling_ is None
    first = [" ".join(text.split()[: LENGTH - 2]) for text in long]
    np.testing.assert_allclose(clf.predict_proba(long), clf.predict_proba(first), **EXACT)


def test_what_stands_behind_the_first_window_counts(tiny_clf: Clf, tiny_backbone: Make) -> None:
    start = " ".join(WORDS[:8])
    X = [f"{start} {word} {word}" for word in ["good", "bad"] * 8]
    clf = tiny_clf(**WINDOWS, max_epochs=30, lr=1e-2).fit(X, ["yes", "no"] * 8)
    assert clf.score(X, ["yes", "no"] * 8) == 1.0
    assert clf.n_steps_ == 60


# -- any method, any number of fits ------------------------------------------------------


def losses(network: Network, table: Any, n_tokens: int) -> torch.Tensor:
    rows = np.arange(len(table))
    fits = rows % network.n_fits
    for weight in network.learnt.values():
        weight.grad = None
    logits = network(network.batch(table, rows, fits, n_tokens=n_tokens))
    weights = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view_as(logits)
    torch.autograd.backward(logits, weights)
    return logits.detach()


@pytest.mark.parametrize("window_pooling", POOLINGS)
@pytest.mark.parametrize("method", [*built_in_methods(), "head"])
def test_a_bounded_pass_has_the_gradients_of_an_unbounded_one(
    method: str, window_pooling: str, tiny_backbone: Make, long: list[str]
) -> None:
    n_fits = 1 if method == "full" else 2
    network = scatter(build(tiny_backbone(), method, n_fits=n_fits, window_pooling=window_pooling))
    table = get_backbone(tiny_backbone()).tokens.table(long[:6], LENGTH, STRIDE)
    expected = losses(network, table, 10**6)
    gradients = {name: weight.grad for name, weight in network.learnt.items()}
    found = losses(network, table, 25)
    torch.testing.assert_close(found, expected, **EXACT)
    for name, weight in network.learnt.items():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-10, atol=1e-12)


def test_a_pass_without_assigned_fits_has_groups_of_rows(
    tiny_backbone: Make, long: list[str]
) -> None:
    network = scatter(
        build(tiny_backbone(), "layernorm", n_fits=2, window_pooling="attention")
    ).requires_grad_(False)
    table = get_backbone(tiny_backbone()).tokens.table(long[:6], LENGTH, STRIDE)
    rows = np.arange(6)
    expected = network(network.batch(table, rows, rows // 3))
    torch.testing.assert_close(network(network.batch(table, rows)), expected, **EXACT)


@pytest.mark.parametrize("window_pooling", POOLINGS)
def test_fused_fits_learn_what_they_learn_alone(
    window_pooling: str, tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    def search() -> Any:
        clf = tiny_clf(window_pooling=window_pooling, early_stopping=True, **WINDOWS)
        clf.set_params(validation_fraction=0.3)
        # Losses of two kinds, so that a batch is taken apart.
        grid = {"label_smoothing": [0.0, 0.2], "stride": [0, STRIDE]}
        return GridSearchCV(clf, grid, cv=2, error_score="raise").fit(long, topics)

    alone = search()
    with fused_fits():
        together = search()
    np.testing.assert_allclose(
        together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    for name, value in alone.best_estimator_.delta_.items():
        found = together.best_estimator_.delta_[name]
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-9, err_msg=name)


def test_truncated_and_cut_fits_fuse_side_by_side(
    tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    params = {"long_texts": ["truncate", "windows"], "window_pooling": ["mean", "max"]}
    clf = tiny_clf(max_epochs=1, max_length=LENGTH)

    def search() -> np.ndarray:
        found = GridSearchCV(clf, params, cv=2, scoring="neg_log_loss", refit=False)
        return found.fit(long, topics).cv_results_["mean_test_score"]

    with pytest.warns(UserWarning, match="were cut"):
        alone = search()
    with pytest.warns(UserWarning, match="were cut"), fused_fits():
        together = search()
    assert len(set(alone.round(12))) == 3
    np.testing.assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:.*were cut:UserWarning")
def test_a_bank_holds_members_with_and_without_windows(
    tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    kinds: list[dict[str, Any]] = [
        {"max_length": LENGTH},
        WINDOWS,
        {**WINDOWS, "stride": 0},
        {**WINDOWS, "max_length": 16},
        {**WINDOWS, "window_pooling": "max"},
        {**WINDOWS, "window_pooling": "attention"},
        {**WINDOWS, "window_pooling": "attention", "tuning": "full", "lr": 1e-3},
    ]
    clf = tiny_clf(max_epochs=1, batch_size=24)
    members = {
        str(seed): moved(clone(clf).set_params(random_state=seed, **kind).fit(long, topics))
        for seed, kind in enumerate(kinds)
    }
    bank = DeltaBank(members)
    found = bank.predict_proba(long)
    tasks = [str(row % len(members)) for row in range(len(long))]
    mixed = bank.predict_proba(long, tasks=tasks)
    for name, clf in members.items():
        expected = clf.predict_proba(long)
        np.testing.assert_allclose(found[name], expected, **EXACT)
        own = [row for row, task in enumerate(tasks) if task == name]
        np.testing.assert_allclose(np.stack([mixed[row] for row in own]), expected[own], **EXACT)


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=8), n_tokens=st.integers(1, 40))
def test_pieces_of_a_batch_are_whole_rows_within_the_bound(
    counts: list[int], n_tokens: int
) -> None:
    n = sum(counts)
    lengths = np.arange(n) % 4 + 1
    whole = Batch(
        {"input_ids": torch.arange(n)[:, None]},
        targets=torch.arange(len(counts)),
        windows=Windows(np.array(counts), lengths, n_tokens),
    )
    pieces = list(whole.pieces())
    assert torch.cat([piece.targets for piece in pieces]).tolist() == list(range(len(counts)))
    assert torch.cat([p.inputs["input_ids"] for p in pieces]).flatten().tolist() == list(range(n))
    for piece in pieces:
        assert len(piece) == 1 or piece.windows.lengths.sum() <= n_tokens
    for one, other in itertools.pairwise(pieces):
        together = [*one.windows.lengths, *other.windows.lengths[: other.windows.counts[0]]]
        assert sum(together) > n_tokens  # no piece is smaller than it has to be


# -- memory ------------------------------------------------------------------------------


def test_no_pass_of_a_fit_takes_more_than_a_truncated_batch(
    tiny_clf: Clf, monkeypatch: pytest.MonkeyPatch
) -> None:
    novel = " ".join(WORDS * 12)  # over 50 windows
    X = [novel, *WORDS[:6], novel]
    clf = tiny_clf(
        **{**WINDOWS, "stride": 0}, max_epochs=1, batch_size=4, early_stopping=True, patience=1
    )
    with sizes_of_passes(monkeypatch) as sizes:
        clf.fit(X, ["a", "b"] * 4, X_val=X, y_val=["a", "b"] * 4)
    assert max(sizes) == 4 * LENGTH
    assert sum(sizes) > 6 * 50 * LENGTH


def test_the_activations_of_a_text_of_many_windows_are_not_kept(tiny_backbone: Make) -> None:
    network = build(tiny_backbone(), "layernorm", window_pooling="mean")
    tokens = get_backbone(tiny_backbone()).tokens
    table = tokens.table([" ".join(WORDS * 12)], LENGTH, STRIDE)

    def kept(n_tokens: int) -> int:
        sizes: dict[int, int] = {}

        def note(value: torch.Tensor) -> torch.Tensor:
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            logits = network(network.batch(table, np.arange(1), n_tokens=n_tokens))
        assert logits.requires_grad
        return sum(sizes.values())

    assert kept(4 * LENGTH) < kept(10**6) / 10


def test_no_pass_of_a_prediction_takes_more_than_others(
    tiny_clf: Clf, long: list[str], topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clf = tiny_clf(max_epochs=1, **WINDOWS).fit(long, topics)
    novel = " ".join(WORDS * 12)
    expected = clf.predict_proba([*long, novel])
    monkeypatch.setitem(placement.PREDICT_TOKENS, "cpu", 64)
    assert computing.PREDICT_TOKENS["cpu"] == 64
    with sizes_of_passes(monkeypatch) as sizes:
        found = clf.predict_proba([*long, novel])
    assert max(sizes) <= 64
    np.testing.assert_allclose(found, expected, **EXACT)


def test_a_bank_of_fits_keeps_to_its_tokens(
    tiny_clf: Clf, long: list[str], topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert network_module.STEP_TOKENS is placement.STEP_TOKENS
    monkeypatch.setitem(placement.STEP_TOKENS, "cpu", 48)
    monkeypatch.setitem(placement.PREDICT_TOKENS, "cpu", 48)
    search = GridSearchCV(tiny_clf(max_epochs=1, **WINDOWS), {"lr": [1e-3, 1e-2]}, cv=2)
    with sizes_of_passes(monkeypatch) as sizes, fused_fits():
        search.fit(long, topics)
    assert max(sizes) <= 48


# -- going on, saving, caching -----------------------------------------------------------


@pytest.mark.parametrize("window_pooling", POOLINGS)
@pytest.mark.parametrize("name", ["saved", "saved.zip"])
def test_what_is_saved_comes_back(
    name: str,
    window_pooling: str,
    tiny_clf: Clf,
    long: list[str],
    topics: list[str],
    tmp_path: Path,
) -> None:
    clf = tiny_clf(max_epochs=1, window_pooling=window_pooling, **WINDOWS)
    moved(clf.fit(long, topics))
    clf.save(tmp_path / name)
    assert f"windows that share 3 tokens, with window pooling: {window_pooling}" in card_of(clf)
    expected = clf.predict_proba(long)
    for back in (load(tmp_path / name), pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):
        assert (back.stride_, back.window_pooling_) == (STRIDE, window_pooling)
        assert back.get_params() == clf.get_params()
        np.testing.assert_array_equal(back.predict_proba(long), expected)
    again = load(tmp_path / name)
    again.save(tmp_path / f"again-{name}")
    np.testing.assert_array_equal(load(tmp_path / f"again-{name}").predict_proba(long), expected)


def test_an_older_version_does_not_mistake_windows_for_truncation(
    tiny_clf: Clf, long: list[str], topics: list[str], tmp_path: Path
) -> None:
    import json

    cut = tiny_clf(max_epochs=1, **WINDOWS).fit(long, topics)
    plain = tiny_clf(max_epochs=1).fit(long, topics)
    formats = []
    for clf in (plain, cut):
        clf.save(tmp_path / "clf")
        config = json.loads((tmp_path / "clf" / "config.json").read_text())
        formats.append((config["format_version"], clf.__getstate__()["_sklearn_lntune_format"]))
        assert ("windows" in config) == (clf is cut)
    assert formats == [(1, 1), (2, 2)]


def test_a_pickle_from_before_there_were_windows_truncates(
    tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1).fit(long, topics)
    expected = clf.predict_proba(long)
    state = clf.__getstate__()
    for name in ("stride_", "window_pooling_", "long_texts", "stride", "window_pooling"):
        del state[name]
    old = tiny_clf()
    old.__dict__.clear()
    old.__setstate__(state)
    assert old.long_texts == "truncate"
    np.testing.assert_array_equal(old.predict_proba(long), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"stride": -1, "window_pooling": "mean"},
        {"stride": LENGTH, "window_pooling": "mean"},
        {"stride": 2},
        {"stride": 2, "window_pooling": "sum"},
        {"stride": 2, "window_pooling": "attention"},
        ["stride"],
    ],
)
def test_forged_windows_are_refused(
    change: Any, tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    import json

    from sklearn_lntune import DamagedFileError
    from sklearn_lntune.persistence.document import Document

    clf = tiny_clf(max_epochs=1, **WINDOWS).fit(long, topics)
    files = clf._document(None, None, ()).files()
    config = json.loads(files["config.json"])
    config["windows"] = change
    files["config.json"] = json.dumps(config).encode()
    with pytest.raises(DamagedFileError, match="do not describe a classifier"):
        Document.read(files, "here")


def test_a_stride_that_a_file_cannot_have_is_an_error_and_no_crash(
    tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1, **WINDOWS).fit(long, topics)
    clf.stride_ = LENGTH - 1
    with pytest.raises(ValueError, match=r"stride=9 leaves no room"):
        clf.predict(long)


def test_partial_fit_and_warm_start_go_on(
    tiny_clf: Clf, long: list[str], topics: list[str]
) -> None:
    clf = tiny_clf(window_pooling="attention", **WINDOWS)
    for _ in range(2):
        clf.partial_fit(long, topics, classes=["blue", "green", "red"])
    assert clf.delta_["head/query"].any()
    before = clf.delta_
    clf.set_params(warm_start=True, max_epochs=1).fit(long, topics)
    assert clf.delta_["head/query"].any()
    for change in (
        {"long_texts": "truncate"},
        {"window_pooling": "mean"},
    ):
        other = copy.deepcopy(clf).set_params(**change)
        with pytest.raises(ValueError, match=r"cannot go on from a fit with window_pooling="):
            other.fit(long, topics)
        with pytest.raises(ValueError, match=r"set it back, or start anew"):
            other.partial_fit(long, topics)
    assert before.keys() == clf.delta_.keys()


def test_a_truncated_fit_does_not_go_on_in_windows(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1, warm_start=True).fit(texts, labels)
    with pytest.raises(ValueError, match=r"from a fit with one text per row, truncated"):
        clf.set_params(long_texts="windows").fit(texts, labels)


def test_a_resumed_fit_ends_as_one_that_was_not_interrupted(
    tiny_clf: Clf, long: list[str], topics: list[str], tmp_path: Path
) -> None:
    from skorch.callbacks import Callback

    class Stop(Callback):
        n = 0

        def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
            self.n += training
            if self.n == 4:
                raise RuntimeError("killed")

    options = {**WINDOWS, "window_pooling": "attention", "checkpoint_every": 1}
    expected = tiny_clf(**options).fit(long, topics)
    folder = tmp_path / "checkpoint"
    with pytest.raises(RuntimeError, match="killed"):
        tiny_clf(**options, checkpoint=folder, callbacks=[Stop()]).fit(long, topics)
    resumed = tiny_clf(**options, checkpoint=folder).fit(long, topics)
    for name, value in expected.delta_.items():
        np.testing.assert_array_equal(resumed.delta_[name], value, err_msg=name)
    with pytest.raises(ValueError, match="window_pooling is 'attention' there and 'max' here"):
        tiny_clf(**{**options, "window_pooling": "max"}, checkpoint=folder).fit(long, topics)


@pytest.mark.parametrize("window_pooling", ["mean", "attention"])
def test_cached_activations_change_nothing(
    window_pooling: str,
    tiny_clf: Clf,
    long: list[str],
    topics: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []
    enter_at = Network.enter_at

    def noted(self: Any, *args: Any) -> bool:
        used.append(enter_at(self, *args))
        return used[-1]

    monkeypatch.setattr(Network, "enter_at", noted)
    monkeypatch.setattr(activation_cache, "CACHE_TOKENS", 4 * LENGTH)
    tuning = LayerNormTuning(layers=1, sites=("attention", "ffn"))

    def fit() -> Any:
        clf = tiny_clf(tuning=tuning, window_pooling=window_pooling, **WINDOWS)
        return clf.set_params(early_stopping=True).fit(long, topics)

    kept = fit()
    assert used == [True]
    with fused_fits():
        fused = GridSearchCV(fit().set_params(early_stopping=False), {"lr": [1e-3]}, cv=2)
        fused.fit(long, topics)
    with monkeypatch.context() as patch:
        patch.setattr(activation_cache, "MAX_BYTES", 0)
        patch.setattr(Network, "lowest_block", 0)
        plain = fit()
        again = GridSearchCV(plain.set_params(early_stopping=False), {"lr": [1e-3]}, cv=2)
        again.fit(long, topics)
        plain = fit()
    for name, value in plain.delta_.items():
        np.testing.assert_allclose(kept.delta_[name], value, rtol=0, atol=1e-12, err_msg=name)
    for name, value in again.best_estimator_.delta_.items():
        found = fused.best_estimator_.delta_[name]
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-9, err_msg=name)


def test_a_table_on_disk_is_cut_as_a_list(
    tiny_clf: Clf, long: list[str], topics: list[str], tmp_path: Path
) -> None:
    import pandas as pd

    file = tmp_path / "data.parquet"
    pd.DataFrame({"text": long, "label": topics}).to_parquet(file)
    listed = tiny_clf(**WINDOWS).fit(long, topics)
    streamed = tiny_clf(**WINDOWS).fit(file)
    for name, value in listed.delta_.items():
        np.testing.assert_array_equal(streamed.delta_[name], value, err_msg=name)
    np.testing.assert_allclose(streamed.predict_proba(file), listed.predict_proba(long), **EXACT)


# -- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"long_texts": "cut"}, r"long_texts must be one of \('truncate', 'windows'\); got 'cut'"),
        ({"long_texts": None}, "long_texts must be one of"),
        ({"window_pooling": "sum"}, r"window_pooling must be one of \('mean', 'max', 'attention'"),
        ({"stride": -1}, r"stride must be an int in \[0, inf\); got -1"),
        ({"stride": 0.5}, "stride must be an int"),
        ({**WINDOWS, "stride": 8}, r"stride=8 leaves no room.*max_length=10.*pass at most 7"),
        ({**WINDOWS, "pooling": "native"}, "pooling='native' trains the model's own"),
    ],
)
def test_bad_parameters_are_named(
    params: dict[str, Any], told: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    with pytest.raises(ValueError, match=told):
        tiny_clf(**params).fit(texts, labels)


def test_a_stride_that_is_not_used_may_be_of_any_size(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    tiny_clf(stride=500, max_epochs=1).fit(texts, labels)


def test_pairs_are_refused_before_the_backbone_is_sought(tiny_clf: Clf) -> None:
    clf = tiny_clf(**WINDOWS).set_params(backbone="/nowhere/at/all")
    with pytest.raises(ValueError, match="X holds sentence pairs"):
        clf.fit([("a", "b"), ("c", "d")], [0, 1])
    assert not hasattr(clf, "n_features_in_")


def test_onnx_says_that_it_has_no_windows(
    tiny_clf: Clf, long: list[str], topics: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf(max_epochs=1, **WINDOWS).fit(long, topics)
    with pytest.raises(ValueError, match="export_onnx .*long_texts='windows'"):
        clf.export_onnx(tmp_path / "clf.onnx")
    with pytest.raises(ValueError, match="pooling='native'"):
        clf.export_transformers(tmp_path / "model")
    assert not any(tmp_path.iterdir())
