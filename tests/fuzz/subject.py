"""What all examples share: a tiny backbone, classifiers on it, and what they were saved to."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from conftest import WORDS, save_backbone

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier, LNTunedTransformerTagger

TEXTS = [" ".join(WORDS[(3 * i + j) % len(WORDS)] for j in range(1 + i % 4)) for i in range(8)]
LABELS = ["blue", "red"] * 4


class Subject:
    """A tiny backbone of one block, and what has been made with it.

    Parameters
    ----------
    folder : Path
        Empty; examples may write to folders in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backbone = save_backbone(folder / "backbone", num_hidden_layers=1)

    def classifier(self, **params: Any) -> LNTunedTransformerClassifier:
        """An unfitted classifier that fits in one step."""
        quick = {"max_epochs": 1, "min_steps": 0, "batch_size": 8, "random_state": 0}
        plain = {"device": "cpu", "precision": "float32", "max_length": 16}
        return LNTunedTransformerClassifier(
            **{"backbone": self.backbone, **quick, **plain, **params}
        )

    @cached_property
    def fitted(self) -> LNTunedTransformerClassifier:
        """A fitted classifier; nobody may change it."""
        return self.classifier().fit(TEXTS, LABELS)

    def copy_of_fitted(self) -> LNTunedTransformerClassifier:
        """An equal one, to be changed at will."""
        import copy

        return copy.deepcopy(self.fitted)

    @cached_property
    def fitted_on_pairs(self) -> LNTunedTransformerClassifier:
        """As `fitted`, of sentence pairs."""
        return self.classifier().fit(list(zip(TEXTS, TEXTS[::-1], strict=True)), LABELS)

    @cached_property
    def tagger(self) -> LNTunedTransformerTagger:
        """A fitted tagger; nobody may change it."""
        params = self.classifier().get_params(deep=False)
        names = LNTunedTransformerTagger().get_params(deep=False)
        tagger = LNTunedTransformerTagger(
            **{name: params[name] for name in names if name in params}
        )
        words = [text.split() for text in TEXTS]
        return tagger.fit(words, [["O", "B-PER", "I-PER", "O"][: len(row)] for row in words])

    @cached_property
    def probabilities(self) -> np.ndarray:
        """What `fitted` says of the texts."""
        return self.fitted.predict_proba(TEXTS)

    @cached_property
    def saved_zip(self) -> Path:
        """`fitted` as one file."""
        self.fitted.save(self.folder / "saved.zip")
        return self.folder / "saved.zip"

    @cached_property
    def saved_folder(self) -> Path:
        """`fitted` as a folder."""
        self.fitted.save(self.folder / "saved")
        return self.folder / "saved"

    def adapter(self, tuning: str) -> Path:
        """An adapter in peft's form."""
        folder = self.folder / f"adapter of {tuning}"
        if not folder.exists():
            native = self.classifier(pooling="native", tuning=tuning).fit(TEXTS, LABELS)
            native.export_peft(folder)
        return folder

    @cached_property
    def checkpointed(self) -> dict[str, np.ndarray]:
        """What a fit with a checkpoint has learnt; its state is in the folder."""
        return self.classifier(checkpoint=self.folder / "checkpoint").fit(TEXTS, LABELS).delta_

    @cached_property
    def bank(self) -> DeltaBank:
        """Three classifiers, one of them of pairs; nobody may change it."""
        other = self.classifier(random_state=1).fit(TEXTS, [len(text) for text in TEXTS])
        return DeltaBank({"colour": self.fitted, "length": other, "pair": self.fitted_on_pairs})

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for one example."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def fitted_attributes(clf: Any) -> dict[str, Any]:
    """What fitting has left on ``clf``, as it must be after a fit that fails."""
    return {
        name: joblib.hash(value)
        for name, value in vars(clf).items()
        if name.endswith("_") and not name.startswith("_")
    }
