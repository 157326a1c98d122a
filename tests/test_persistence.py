"""Kept in kilobytes, tied to one backbone, shared by all."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from conftest import save_backbone

from sklearn_lntune import (
    BackboneMismatchError,
    LNTunedTransformerClassifier,
    clear_backbones,
)
from sklearn_lntune.backbone import pool
from sklearn_lntune.backbone.pool import get_backbone

Clf = Callable[..., LNTunedTransformerClassifier]
CPU = torch.device("cpu")


def test_ten_classes_on_the_default_backbone_take_150_kilobytes(
    default_backbone: str, tmp_path: Path
) -> None:
    texts = [f"message number {i}" for i in range(20)]
    clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    clf.fit(texts, [f"class {i % 10}" for i in range(20)])
    joblib.dump(clf, tmp_path / "clf.joblib")
    assert (tmp_path / "clf.joblib").stat().st_size < 150_000
    assert clf.backbone_["name"] == default_backbone
    assert clf.backbone_["revision"] == "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
    assert clf.max_length_ == 256
    assert sum(v.size for n, v in clf.delta_.items() if n.startswith("layernorm")) == 9984


def test_a_fresh_process_predicts_bit_for_bit_the_same(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    """From a pickle, and from a folder that needs nothing beside it and holds no pickle."""
    clf = tiny_clf(precision="auto").fit(texts, labels)
    own = tiny_clf(max_epochs=1).set_params(backbone=save_backbone(tmp_path / "original"))
    own.fit(texts, labels).save(tmp_path / "saved", include_backbone=True)
    assert (tmp_path / "saved" / "backbone" / "model.safetensors").is_file()
    assert "  backbone/model.safetensors\n" in (tmp_path / "saved" / "SHA256SUMS").read_text()
    joblib.dump(clf, tmp_path / "clf.joblib")
    np.save(tmp_path / "expected.npy", [each.predict_proba(texts) for each in (clf, own)])
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    shutil.rmtree(tmp_path / "original")
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    program = (
        "import json, sys, joblib, numpy as np, sklearn_lntune; from pathlib import Path\n"
        "def hook(event, arguments):\n"
        "    if event == 'pickle.find_class' and loading: sys.exit(3)\n"
        "sys.addaudithook(hook)\n"
        "folder, loading = Path(sys.argv[1]), True\n"
        "own = sklearn_lntune.load(folder / 'moved'); loading = False\n"
        "clf = joblib.load(folder / 'clf.joblib')\n"
        "assert 'torch' not in sys.modules, 'loading touched torch'\n"
        "import torch; torch.set_num_threads(1)\n"
        "texts = json.loads((folder / 'texts.json').read_text())\n"
        "found = [each.predict_proba(texts) for each in (clf, own)]\n"
        "assert np.array_equal(found, np.load(folder / 'expected.npy'))\n"
        "trainers = ('skorch', 'sklearn_lntune.training', 'sklearn_lntune.fusion')\n"
        "sys.exit(', '.join(name for name in sys.modules if name.startswith(trainers)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_loading_does_not_touch_the_backbone(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    folder = save_backbone(tmp_path / "backbone")
    clf = tiny_clf().set_params(backbone=folder)
    saved = pickle.dumps(clf.fit(texts, labels))
    expected = clf.predict_proba(texts)
    shutil.move(folder, tmp_path / "moved")
    clear_backbones()
    back = pickle.loads(saved)
    assert back.classes_.tolist() == clf.classes_.tolist()
    with pytest.raises(ValueError, match="is not a folder here"):
        back.predict(texts)
    # the same files elsewhere serve as well
    assert (back.set_params(backbone=tmp_path / "moved").predict_proba(texts) == expected).all()


def test_another_backbone_is_refused_by_name(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    clf = tiny_clf().fit(texts, labels)
    other = save_backbone(tmp_path / "other", initializer_range=0.5)
    with pytest.raises(BackboneMismatchError) as caught:
        pickle.loads(pickle.dumps(clf)).set_params(backbone=other).predict(texts)
    assert str(clf.backbone) in str(caught.value)
    assert str(other) in str(caught.value)
    assert clf.backbone_["fingerprint"][:16] in str(caught.value)


def test_a_backbone_changed_on_disk_is_noticed(
    tiny_clf: Clf, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    folder = save_backbone(tmp_path / "backbone")
    clf = tiny_clf().set_params(backbone=folder).fit(texts, labels)
    clf.predict(texts)
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace('"good"', '"goood"'))
    clear_backbones()
    with pytest.raises(BackboneMismatchError, match="tokenizer fingerprint"):
        clf.predict(texts)


def test_a_pickle_from_a_later_format_is_refused(
    tiny_clf: Clf, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.persistence import state

    clf = tiny_clf().fit(texts, labels)
    monkeypatch.setattr(state, "FORMAT_OF_ONE_LABEL", 99)
    saved = pickle.dumps(clf)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="format 99, and this version .* reads up to 2"):
        pickle.loads(saved)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_fitted_on_a_gpu_predicts_without_one(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(texts, labels)
    expected = clf.predict_proba(texts)
    moved = pickle.loads(pickle.dumps(clf.set_params(device="cuda")))
    with pytest.warns(UserWarning, match="device='cuda'.*Predicting on the CPU") as caught:
        found = moved.predict_proba(texts)
    assert len(caught) == 1
    assert (found == expected).all()
    with pytest.raises(ValueError, match="device='cuda', but there is no such GPU"):
        moved.fit(texts, labels)


# -- sharing ---------------------------------------------------------------------------


def test_clones_folds_and_loaded_ones_share_one_backbone(
    tiny_clf: Clf, tiny_backbone: Any, texts: list[str], labels: list[str]
) -> None:
    first = tiny_clf().fit(texts, labels)
    second = pickle.loads(pickle.dumps(first))
    third = tiny_clf(lr=1e-3).fit(texts, labels)
    shared = get_backbone(tiny_backbone()).model(torch.float64, CPU)
    storages = {p.data_ptr() for p in shared.parameters()}
    for clf in (first, second, third):
        clf.predict(texts)
        body = clf.net().module_.body
        frozen = [p for name, p in body.named_parameters() if "LayerNorm" not in name]
        assert len(frozen) > 20
        assert all(p.data_ptr() in storages for p in frozen)


def test_what_estimators_keep_goes_with_them(
    tiny_clf: Clf, tiny_backbone: Any, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(texts, labels)
    clf.predict(texts)
    kept = get_backbone(tiny_backbone()).kept
    assert clf in kept
    before = len(kept)
    network = weakref.ref(clf.net().module_)
    del clf
    gc.collect()
    assert len(kept) == before - 1
    assert network() is None


def test_prediction_leaves_the_estimator_alone(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf().fit(texts, labels)
    before = dict(vars(clf))
    clf.predict(texts), clf.embed(texts), clf.net(), clf.history_
    assert vars(clf) == before


def test_a_new_fit_is_what_predicts(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(lr=0.05, max_epochs=5).fit(texts, labels)
    before = clf.predict_proba(texts)
    clf.set_params(random_state=3).fit(texts, labels)
    assert (clf.predict_proba(texts) != before).any()
    # parameters changed without a fit do not change what was learnt
    after = clf.predict_proba(texts)
    assert (clf.set_params(tuning="head").predict_proba(texts) == after).all()


def test_the_pool_is_bounded_and_can_be_emptied(
    tmp_path: Path, texts: list[str], labels: list[str], tiny_clf: Clf
) -> None:
    clear_backbones()
    fitted = []
    for i in range(pool.MAX_BACKBONES + 2):
        folder = save_backbone(tmp_path / str(i), hidden_size=16 + 2 * i)
        fitted.append(tiny_clf(max_epochs=1).set_params(backbone=folder).fit(texts, labels))
        expected = fitted[-1].predict_proba(texts)
    assert len(pool._pool) == pool.MAX_BACKBONES
    model = weakref.ref(get_backbone(fitted[-1].backbone).model(torch.float64, CPU))
    clear_backbones()
    gc.collect()
    assert len(pool._pool) == 0
    assert model() is None
    assert (fitted[-1].predict_proba(texts) == expected).all()
    fitted[0].predict(texts)  # dropped long ago, and back when asked for


def test_two_compute_types_are_held_once_each(
    tiny_clf: Clf, tiny_backbone: Any, texts: list[str], labels: list[str]
) -> None:
    clear_backbones()
    for _ in range(2):
        tiny_clf(precision="bfloat16").fit(texts, labels).predict(texts)
        tiny_clf(precision="float32").fit(texts, labels).predict(texts)
    held = get_backbone(tiny_backbone())._models
    assert {dtype for dtype, _ in held} == {torch.bfloat16, torch.float32}


def test_threads_fit_and_predict_at_once(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clear_backbones()
    alone = [tiny_clf(random_state=seed, lr=0.02).fit(texts, labels) for seed in range(6)]
    expected = [clf.predict_proba(texts) for clf in alone]
    clear_backbones()
    start = threading.Barrier(6)

    def work(seed: int) -> Any:
        start.wait()
        clf = tiny_clf(random_state=seed, lr=0.02).fit(texts, labels)
        return [clf.predict_proba(texts), alone[seed - 1].predict_proba(texts)]

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(work, range(6)))
    for seed, (own, other) in enumerate(found):
        np.testing.assert_allclose(own, expected[seed], rtol=0, atol=1e-12)
        np.testing.assert_allclose(other, expected[seed - 1], rtol=0, atol=1e-12)


def test_many_threads_on_one_estimator(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    for params in ({"family": "llama"}, {"pooling": "native"}):
        clf = tiny_clf(**params).fit(texts, labels)
        expected = [clf.embed([text]) for text in texts]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda text, clf=clf: clf.embed([text]), texts))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
