"""A compiled backbone gives the same numbers; where it cannot be, it runs as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import save_backbone
from torch import nn

from sklearn_lntune.backbone import compiled, placement
from sklearn_lntune.backbone.compiled import CompiledBody, has_compiler
from sklearn_lntune.backbone.placement import MissingCompilerError, place_fit, place_prediction
from sklearn_lntune.backbone.where import Where


class Doubling(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_a_body_that_does_not_compile_runs_as_it_is_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(body: nn.Module, **options: Any) -> Any:
        def run(**inputs: torch.Tensor) -> Any:
            from torch._dynamo.exc import Unsupported

            raise Unsupported("this is too odd")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    body = CompiledBody(Doubling())
    with pytest.warns(UserWarning, match=r"Doubling cannot be compiled here.*too odd") as caught:
        assert body(x=torch.ones(1)) == 2
    assert body(x=torch.ones(1)) == 2  # a second warning would be an error
    assert len(caught) == 1


def test_no_compiler_is_an_error_in_fit_and_a_warning_in_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    monkeypatch.setattr(placement, "has_compiler", has_compiler)
    with pytest.raises(MissingCompilerError, match=r"C\+\+ compiler .* compile=False"):
        place_fit(Where("cpu", "float32", True), torch.float32)
    with pytest.warns(UserWarning, match="Predicting without"):
        placed = place_prediction(Where("cpu", "float32", True), torch.float32)
    assert not placed.compiled
    assert place_fit(Where("cpu", "float32", False), torch.float32) == placed


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_compile_is_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match="compile must be True or False"):
        place_fit(Where("cpu", "float32", value), torch.float32)


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_fit_equals_a_plain_one(
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch._inductor import config

    # Plain loops: what PyTorch does with vector instructions takes as long again to compile.
    monkeypatch.setattr(config.cpp, "vec_isa_ok", False)
    folder = save_backbone(tmp_path, num_hidden_layers=1)
    plain, fast = (
        tiny_clf(compile=each).set_params(backbone=folder).fit(texts, labels)
        for each in (False, True)
    )
    assert plain.n_steps_ == fast.n_steps_ == 10
    for name, values in plain.delta_.items():
        np.testing.assert_allclose(fast.delta_[name], values, rtol=0, atol=1e-10)
