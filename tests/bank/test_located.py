"""A bank gives the state of a member back, so that it can be computed by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import moved

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier
from sklearn_lntune.persistence import FittedState


@pytest.mark.parametrize(
    "params",
    [{}, {"tuning": "prefix+lora+layernorm"}, {"pooling": "native"}, {"max_length": 20}],
    ids=str,
)
def test_the_state_of_a_member(
    params: dict[str, Any], tiny_backbone: Callable[..., Path], texts: list[str], labels: list[str]
) -> None:
    clf = LNTunedTransformerClassifier(
        tiny_backbone(), max_epochs=1, min_steps=0, device="cpu", random_state=0, **params
    )
    pairs = list(zip(texts, texts, strict=True))
    first = moved(clf.fit(texts[:8], [len(text) % 2 for text in texts[:8]]))
    bank = DeltaBank({"other": first})
    member = moved(clf.fit(pairs[:8] if params == {} else texts[:8], labels[:8]))
    bank.add("member", member)
    found, backbone, placement = bank._located("member")
    expected = FittedState.from_attributes(vars(member))
    assert found.delta.keys() == expected.delta.keys()
    for name, values in expected.delta.items():
        np.testing.assert_array_equal(found.delta[name], values)
    assert found.task.state().keys() == expected.task.state().keys()
    np.testing.assert_array_equal(found.task.state()["classes"], member.classes_)
    assert found.max_length == member.max_length_
    assert (found.pooling, found.tuning) == (expected.pooling, expected.tuning)
    assert backbone.fingerprint == member.backbone_["fingerprint"]
    assert placement.device.type == "cpu"
    assert bank.takes_pairs("member") == (params == {})
    assert not bank.takes_pairs("other")
