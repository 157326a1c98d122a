"""Make the files in ``format1``, which every later version must read. Run once.

    PYTHONPATH=tests python tests/persistence/make_format1.py

They are a record of what format 1 is. Never make them anew: a later format gets a folder
of its own.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import joblib
from conftest import save_backbone

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.tuning import LayerNormTuning, PrefixTuning

FOLDER = Path(__file__).parent / "format1"
TEXTS = ["good cat", "the BAD dog, 42 times", "rain", "", "sun and fire " * 8, "bad", "good"]
TINY: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}


def make(folder: Path) -> None:
    """Fit on a tiny backbone, save in three ways, and note the probabilities."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as parent:
        os.chdir(parent)  # so that the backbone's name is the same wherever this runs
        save_backbone(Path("tiny-bert"), **TINY)
        clf = LNTunedTransformerClassifier(
            "tiny-bert",
            tuning=LayerNormTuning(sites=("attention", "ffn"), layers=range(1)) + PrefixTuning(2),
            lr={"layernorm": 0.05, "prefix": 0.05},
            class_weight={"good": 1.0, "größer": 2},
            max_length=32,
            max_epochs=40,
            min_steps=0,
            device="cpu",
            precision="float32",
            random_state=0,
        )
        labels = ["good", "good", "good", "größer", "größer", "größer"]
        clf.fit(["good cat", "sun", "good", "bad dog", "rain", "bad"] * 4, labels * 4)
        clf.save(folder / "folder", metrics={"accuracy": 0.75}, include_backbone=True)
        clf.set_params(backbone=Path("tiny-bert"))
        clf.save(folder / "classifier.zip", metrics={"accuracy": 0.75}, data="six texts")
        clf.set_params(backbone="tiny-bert")
        joblib.dump(clf, folder / "classifier.joblib")
        expected = {
            "texts": TEXTS,
            "classes": clf.classes_.tolist(),
            "probabilities": clf.predict_proba(TEXTS).tolist(),
        }
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (folder / "expected.json").write_text(text + "\n", "utf-8")
    # The digests are of these very bytes: git must not change line ends.
    (folder / ".gitattributes").write_text("* -text\n", "utf-8")


if __name__ == "__main__":
    make(FOLDER.resolve())
