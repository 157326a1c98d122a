"""Pipelines through skops, with the trusted types of the guide, and through joblib."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.tuning import AdapterTuning, LayerNormTuning, PrefixTuning

CLASSIFIER = "sklearn_lntune.estimators.classifier.LNTunedTransformerClassifier"
TUNINGS: dict[str, tuple[Any, list[str]]] = {
    "string": ("layernorm+prefix", []),
    "method": (
        LayerNormTuning(sites=("attention",), layers=range(1)),
        ["builtins.range", "sklearn_lntune.tuning.layernorm.LayerNormTuning"],
    ),
    "sum": (
        LayerNormTuning() + PrefixTuning(4) + AdapterTuning(4),
        [
            "sklearn_lntune.tuning.adapter.AdapterTuning",
            "sklearn_lntune.tuning.base.TuningSum",
            "sklearn_lntune.tuning.layernorm.LayerNormTuning",
            "sklearn_lntune.tuning.prefix.PrefixTuning",
        ],
    ),
}
BY_TUNING = pytest.mark.parametrize(("tuning", "types"), TUNINGS.values(), ids=TUNINGS)


@pytest.fixture
def pipe(
    tiny_backbone: Callable[..., Path], texts: list[str], labels: list[str]
) -> Callable[..., Pipeline]:
    """``pipe(tuning)``: a fitted pipeline that ends in a classifier."""

    def make(tuning: Any) -> Pipeline:
        clf = LNTunedTransformerClassifier(str(tiny_backbone()), tuning=tuning, max_epochs=1)
        clf.set_params(min_steps=0, precision="float64", device="cpu", random_state=0)
        return make_pipeline(FunctionTransformer(), clf).fit(texts, labels)

    return make


@BY_TUNING
def test_a_pipeline_through_skops(
    pipe: Callable[..., Pipeline], texts: list[str], tuning: Any, types: list[str]
) -> None:
    pipeline = pipe(tuning)
    saved = skops.io.dumps(pipeline)
    assert skops.io.get_untrusted_types(data=saved) == sorted([CLASSIFIER, *types])
    back = skops.io.loads(saved, trusted=[CLASSIFIER, *types])
    assert (back.predict_proba(texts) == pipeline.predict_proba(texts)).all()
    assert repr(back[-1].get_params()) == repr(pipeline[-1].get_params())
    assert {k: v.tobytes() for k, v in back[-1].delta_.items()} == {
        k: v.tobytes() for k, v in pipeline[-1].delta_.items()
    }


def test_each_trusted_type_is_needed(pipe: Callable[..., Pipeline]) -> None:
    tuning, types = TUNINGS["sum"]
    saved = skops.io.dumps(pipe(tuning))
    trusted = [CLASSIFIER, *types]
    for left_out in trusted:
        with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException, match=left_out):
            skops.io.loads(saved, trusted=[name for name in trusted if name != left_out])


def test_a_path_as_backbone_is_one_type_more(pipe: Callable[..., Pipeline]) -> None:
    pipeline = pipe("layernorm")
    pipeline[-1].set_params(backbone=Path(pipeline[-1].backbone))
    types = skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))
    assert types == [f"pathlib.{type(Path()).__name__}", CLASSIFIER]


def test_a_classifier_as_transformer(
    pipe: Callable[..., Pipeline], texts: list[str], labels: list[str]
) -> None:
    fitted = pipe("layernorm")[-1]
    pipeline = make_pipeline(fitted, LogisticRegression()).fit(texts, labels)
    back = skops.io.loads(skops.io.dumps(pipeline), trusted=[CLASSIFIER])
    np.testing.assert_array_equal(back.predict_proba(texts), pipeline.predict_proba(texts))


@BY_TUNING
def test_files_are_small(
    pipe: Callable[..., Pipeline], tuning: Any, types: list[str], tmp_path: Path
) -> None:
    pipeline = pipe(tuning)
    skops.io.dump(pipeline, tmp_path / "pipe.skops")
    joblib.dump(pipeline, tmp_path / "pipe.joblib")
    assert (tmp_path / "pipe.skops").stat().st_size < 150_000
    assert (tmp_path / "pipe.joblib").stat().st_size < 20_000


def test_what_was_loaded_by_skops_can_be_saved_and_pickled(
    pipe: Callable[..., Pipeline], texts: list[str], tmp_path: Path
) -> None:
    from sklearn_lntune import load

    pipeline = pipe("layernorm")
    back = skops.io.loads(skops.io.dumps(pipeline), trusted=[CLASSIFIER])
    pipeline[-1].save(tmp_path / "one" / "clf.zip")
    back[-1].save(tmp_path / "two" / "clf.zip")
    one, two = ((tmp_path / name / "clf.zip").read_bytes() for name in ("one", "two"))
    assert one == two
    buffer = io.BytesIO()
    joblib.dump(back, buffer)
    again = joblib.load(io.BytesIO(buffer.getvalue()))
    for clf in (again[-1], load(tmp_path / "two" / "clf.zip")):
        assert (clf.predict_proba(texts) == pipeline.predict_proba(texts)).all()
