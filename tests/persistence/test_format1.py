"""Files of format 1 keep loading. They are never made anew; see ``make_format1.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from sklearn_lntune import LNTunedTransformerClassifier, load
from sklearn_lntune.tuning import LayerNormTuning

FOLDER = Path(__file__).parent / "format1"
BACKBONE = FOLDER / "folder" / "backbone"


def from_folder() -> LNTunedTransformerClassifier:
    return load(FOLDER / "folder")


def from_zip() -> LNTunedTransformerClassifier:
    return load(FOLDER / "classifier.zip", backbone=BACKBONE)


def from_joblib() -> LNTunedTransformerClassifier:
    clf: LNTunedTransformerClassifier = joblib.load(FOLDER / "classifier.joblib")
    return clf.set_params(backbone=BACKBONE)


LOADERS = pytest.mark.parametrize(
    "read", [from_folder, from_zip, from_joblib], ids=["folder", "zip", "joblib"]
)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text("utf-8"))
    return content


@LOADERS
def test_it_predicts_as_when_it_was_saved(read: Any, expected: dict[str, Any]) -> None:
    clf = read()
    found = clf.predict_proba(expected["texts"])
    np.testing.assert_allclose(found, expected["probabilities"], rtol=0, atol=1e-5)
    labels = np.array(expected["classes"])[np.argmax(expected["probabilities"], axis=1)]
    assert clf.predict(expected["texts"]).tolist() == labels.tolist()
    assert np.ptp(found[:, 0]) > 0.1  # else it would tell little


@LOADERS
def test_its_parameters_are_read(read: Any) -> None:
    clf = read()
    norms, prefix = clf.tuning.methods
    assert isinstance(norms, LayerNormTuning)
    assert (list(norms.sites), list(norms.layers)) == (["attention", "ffn"], [0])
    assert prefix.length == 2
    assert clf.lr == {"layernorm": 0.05, "prefix": 0.05}
    assert clf.class_weight == {"good": 1.0, "größer": 2}
    assert (clf.max_length, clf.max_epochs, clf.random_state) == (32, 40, 0)
    assert clf.scoring == "loss"
    assert clf.classes_.dtype == np.dtype("<U6")
    assert len(clf.history_) == clf.n_epochs_ == 40
    assert clf.n_features_in_ == 1


@LOADERS
def test_it_can_be_saved_in_the_format_of_today(
    read: Any, expected: dict[str, Any], tmp_path: Path
) -> None:
    clf = read()
    clf.save(tmp_path / "clf.zip")
    back = load(tmp_path / "clf.zip")
    assert (back.predict_proba(expected["texts"]) == clf.predict_proba(expected["texts"])).all()


@LOADERS
def test_it_can_be_fitted_anew(read: Any) -> None:
    clf = read().set_params(max_epochs=1)
    clf.fit(["good", "bad", "sun", "rain"], ["good", "größer"] * 2)
    assert clf.predict(["good"]).shape == (1,)


def test_the_files_say_format_1() -> None:
    config = json.loads((FOLDER / "folder" / "config.json").read_text("utf-8"))
    assert config["format_version"] == 1
    assert config["metrics"] == {"accuracy": 0.75}


def test_the_files_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 60_000
