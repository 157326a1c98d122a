"""Backbones on which no learnt value starts at something special."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_backbone
from safetensors.torch import load_file, save_file

from sklearn_lntune.tuning import registration

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """As ``tiny_backbone``, every weight with noise: no bias is zero and no norm is plain."""
    made: dict[str, Path] = {}

    def make(family: str = "bert", **overrides: Any) -> Path:
        key = f"{family} {overrides}"
        if key not in made:
            made[key] = save_backbone(tmp_path_factory.mktemp(family), family, **overrides)
            file = made[key] / "model.safetensors"
            generator = torch.Generator().manual_seed(3)
            weights = {
                name: weight + 0.1 * torch.randn(weight.shape, generator=generator)
                for name, weight in load_file(file).items()
            }
            save_file(weights, file, {"format": "pt"})
        return made[key]

    return make


@pytest.fixture
def forget_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that the test defines are known in it alone."""
    monkeypatch.setattr(registration, "_registered", dict(registration._registered))
