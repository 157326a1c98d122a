"""In bfloat16, values move however small the rate is: what is learnt is float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("lr", [1e-4, 1e-5])
@pytest.mark.parametrize("tuning", ["layernorm", "bias", "scale"])
def test_every_value_moves(
    tiny_clf: Any, texts: list[str], labels: list[str], tuning: str, lr: float
) -> None:
    """A bfloat16 gain of 1 cannot become 1.0001: the next number is 1.0078."""
    clf = tiny_clf(tuning=tuning, precision="bfloat16", lr=lr, max_epochs=4)
    begun = tiny_clf(tuning=tuning, precision="bfloat16", lr=1e-30, max_epochs=1)
    before = begun.fit(texts, labels).delta_
    after = clf.fit(texts, labels).delta_
    moved = [name for name in after if not name.startswith("head/")]
    for name in moved:
        stuck = np.mean(after[name] == before[name])
        assert stuck < 0.01, f"{stuck:.0%} of {name} did not move"
        # So small a step that it would be lost in bfloat16.
        gains = before[name] == 1
        lost = torch.from_numpy(after[name][gains]).bfloat16().float().numpy() == 1
        assert lost.all()
    assert moved
