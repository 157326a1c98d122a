"""Read-only arrays, as joblib maps into its workers, bring no warning of PyTorch's."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier, fused_fits, load
from sklearn_lntune.tensors import tensor_of

Clf = Callable[..., LNTunedTransformerClassifier]


@pytest.fixture(autouse=True)
def _warn_always() -> Iterator[None]:
    """PyTorch warns once a process, and pytest makes an error of it."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


def locked(value: Any) -> Any:
    """``value`` with every array in it read-only."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    for each in value.values() if isinstance(value, dict) else ():
        locked(each)
    return value


def mapped(clf: LNTunedTransformerClassifier, tmp_path: Path) -> LNTunedTransformerClassifier:
    """As a worker of joblib's gets a large estimator."""
    joblib.dump(clf, tmp_path / "clf.joblib")
    found = joblib.load(tmp_path / "clf.joblib", mmap_mode="r")
    assert not any(value.flags.writeable for value in found.delta_.values())
    return found


def test_a_tensor_shares_what_may_be_written_and_copies_what_may_not() -> None:
    array = np.zeros(3)
    tensor_of(array)[0] = 1.0
    assert array[0] == 1.0
    tensor_of(locked(array))[0] = 2.0
    assert array[0] == 1.0
    assert tensor_of(np.broadcast_to(1.0, 3)).tolist() == [1.0] * 3


@pytest.mark.parametrize("tuning", ["layernorm", "bias", "lora", "prefix", "adapter", "full"])
def test_what_is_learnt_may_be_read_only(
    tuning: str, tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf(tuning=tuning, max_epochs=1)
    clf.partial_fit(texts, labels, classes=["blue", "green", "red"])
    expected = clf.predict_proba(texts)
    for readonly in (mapped(clf, tmp_path), pickle.loads(pickle.dumps(clf))):
        locked(vars(readonly))
        assert (readonly.predict_proba(texts) == expected).all()
        assert len(readonly.embed(texts)) == len(readonly.net().predict(texts)) == len(texts)
        bank = DeltaBank({"a": readonly, "b": readonly})
        np.testing.assert_allclose(bank.predict_proba(texts)["b"], expected, atol=1e-12)
        readonly.partial_fit(texts, labels)
        locked(vars(readonly))
        readonly.set_params(warm_start=True).fit(texts, labels)
        locked(vars(readonly))
        readonly.save(tmp_path / "saved", metrics=None)
        load(tmp_path / "saved").predict(texts)


@pytest.mark.parametrize(
    ("family", "tuning"),
    [("bert", "layernorm"), ("bert", "lora"), ("bert", "full"), ("llama", "prefix")],
)
def test_so_it_may_where_it_is_exported(
    family: str, tuning: str, tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    small = {"max_epochs": 1, "max_length": 40, "precision": "float32"}
    clf = tiny_clf(family, tuning=tuning, pooling="native", **small)
    locked(vars(clf.fit(texts, labels)))
    if tuning != "full":
        clf.export_peft(tmp_path / "peft")
    if tuning != "prefix":
        clf.export_transformers(tmp_path / "plain")
    clf.predict(texts)


def test_data_may_be_read_only(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    X, y = locked(np.array(texts, dtype=object)), locked(np.array(labels))
    weights = locked(np.linspace(0.5, 2, len(texts)))
    clf = tiny_clf(max_epochs=1, early_stopping=True, scoring="accuracy")
    clf.fit(X, y, weights, X_val=X, y_val=y, sample_weight_val=weights).predict(X)
    codes = locked(np.arange(len(texts)) % 3)
    clf.fit(X, codes, weights).partial_fit(X, codes, sample_weight=weights)
    with fused_fits():
        assert len(cross_val_score(tiny_clf(max_epochs=1), X, y, cv=2)) == 2
