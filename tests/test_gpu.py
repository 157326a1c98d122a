"""On a CUDA device, where there is one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("family", ["bert", "llama", "modernbert"])
def test_fit_on_the_gpu_predicts_the_same_on_the_cpu(
    family: str, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(family, device="cuda", precision="float32").fit(texts, labels)
    moved = pickle.loads(pickle.dumps(clf)).set_params(device="cpu")
    np.testing.assert_allclose(
        clf.predict_proba(texts), moved.predict_proba(texts), rtol=0, atol=1e-4
    )


def test_two_fits_of_one_seed_agree(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    one, two = (tiny_clf(device="cuda", precision="auto").fit(texts, labels) for _ in range(2))
    for name, values in one.delta_.items():
        np.testing.assert_allclose(values, two.delta_[name], rtol=0, atol=1e-5)
