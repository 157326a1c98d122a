"""The pool of backbones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sklearn_lntune import clear_backbones
from sklearn_lntune.backbone import loading, pool
from sklearn_lntune.backbone.pool import get_backbone

WHERE = torch.float32, torch.device("cpu")


def test_tokenizers_of_two_classes_are_not_the_same(tiny_backbone: Callable[..., Path]) -> None:
    """The kind of the model decides the tokenizer's class; the files may be the same."""
    backbones = [get_backbone(tiny_backbone(family)) for family in ("qwen2", "llama")]
    assert backbones[0].tokenizer_fingerprint != backbones[1].tokenizer_fingerprint
    tables = [backbone.tokens.table(["good bad happy sad"], 20) for backbone in backbones]
    expected = [backbone.tokenizer("good bad happy sad")["input_ids"] for backbone in backbones]
    assert expected[0] != expected[1]
    found = [table.collate(np.array([0]))["input_ids"][0].tolist() for table in tables]
    assert found == expected


@pytest.mark.parametrize(
    ("module", "slow", "use"),
    [
        (pool, "resolve", get_backbone),
        (pool, "identity_parts", lambda folder: get_backbone(folder).fingerprint),
        (loading, "_weights", lambda folder: get_backbone(folder).private(*WHERE, "eager")),
    ],
    ids=["found", "digested", "read"],
)
def test_while_one_backbone_is_others_are_at_hand(
    module: Any,
    slow: str,
    use: Callable[[Path], Any],
    tiny_backbone: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = tiny_backbone("bert"), tiny_backbone("llama")
    begun, used, quick = threading.Event(), threading.Event(), getattr(module, slow)

    def waiting(first: Any, *args: Any) -> Any:
        if str(one) in str(getattr(first, "folder", first)):
            begun.set()
            assert used.wait(100)
        return quick(first, *args)

    clear_backbones()
    monkeypatch.setattr(module, slow, waiting)
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(use, one)
        assert begun.wait(100)
        use(other)
        used.set()
        answer.result()


def test_threads_that_need_the_same_digest_compute_it_once(
    tiny_backbone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, calls, parts = tiny_backbone("bert"), [], pool.identity_parts
    several = threading.Barrier(3)

    def counted(*args: Any) -> Any:
        calls.append(args)
        return parts(*args)

    def use() -> str:
        several.wait(100)
        return get_backbone(folder).fingerprint

    clear_backbones()
    monkeypatch.setattr(pool, "identity_parts", counted)
    with ThreadPoolExecutor(3) as executor:
        answers = [executor.submit(use) for _ in range(3)]
        assert len({answer.result() for answer in answers}) == 1
    assert len(calls) == 1
