"""The attention that makes its mask without waiting computes what transformers' own computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import known_families
from networks import batch_of, build

from sklearn_lntune.backbone.attention import VARIANTS, _running, padding
from sklearn_lntune.backbone.pool import set_attention
from sklearn_lntune.network import Batch


@pytest.mark.parametrize("attention", VARIANTS)
@pytest.mark.parametrize("family", known_families())
def test_variants_compute_the_same(
    family: str, attention: str, tiny_backbone: Callable[..., Path]
) -> None:
    usual, other = (
        build(tiny_backbone(family), "layernorm", attention=attention, dtype=torch.float32).eval()
        for _ in range(2)
    )
    set_attention(other.body, attention, torch.device("cuda"))
    assert other.body.config._attn_implementation in VARIANTS.values()
    for lengths in ((9, 4, 7), (9, 9)):
        inputs = batch_of(lengths)
        with torch.inference_mode():
            expected = usual(Batch(inputs))
            for is_padded in (len(set(lengths)) > 1, None):
                torch.testing.assert_close(
                    other(Batch(inputs, is_padded=is_padded)), expected, rtol=0, atol=1e-6
                )


def test_the_mask_is_not_read(tiny_backbone: Callable[..., Path]) -> None:
    network = build(tiny_backbone("bert"), "layernorm").eval()
    set_attention(network.body, "sdpa", torch.device("cuda"))
    tokens, hidden = torch.ones(2, 5).long(), torch.zeros(2, 5).long()
    with torch.inference_mode():
        with padding(False):  # as if the mask hid nothing
            told = network.body(input_ids=tokens, attention_mask=hidden)
        expected = network.body(input_ids=tokens, attention_mask=hidden + 1)
    torch.testing.assert_close(told.last_hidden_state, expected.last_hidden_state)


def test_what_is_known_ends_with_its_context() -> None:
    with padding(True):
        with padding(None):
            assert _running.is_padded is None
        assert _running.is_padded is True
    assert _running.is_padded is None


def test_capped_scores_are_never_computed_by_fused_attention(
    tiny_backbone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(tiny_backbone("gemma2"), "layernorm")
    assert network.body.config.attn_logit_softcapping is not None
    # As older versions of transformers have it.
    monkeypatch.setattr(type(network.body), "_supports_sdpa", True)
    set_attention(network.body, "sdpa", torch.device("cpu"))
    assert network.body.config._attn_implementation == "eager"
