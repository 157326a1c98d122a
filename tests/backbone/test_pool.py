"""The pool of backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sklearn_lntune.backbone.pool import get_backbone


def test_tokenizers_of_two_classes_are_not_the_same(tiny_backbone: Callable[..., Path]) -> None:
    """The kind of the model decides the tokenizer's class; the files may be the same."""
    backbones = [get_backbone(tiny_backbone(family)) for family in ("qwen2", "llama")]
    assert backbones[0].tokenizer_fingerprint != backbones[1].tokenizer_fingerprint
    tables = [backbone.tokens.table(["good bad happy sad"], 20) for backbone in backbones]
    expected = [backbone.tokenizer("good bad happy sad")["input_ids"] for backbone in backbones]
    assert expected[0] != expected[1]
    found = [table.collate(np.array([0]))["input_ids"][0].tolist() for table in tables]
    assert found == expected
