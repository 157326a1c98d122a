"""A norm whose terms are learnt computes the same for one fit and for several, in every type."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mobilebert.modeling_mobilebert import NoNorm

from sklearn_lntune.tuning.layers.stacked_norm import StackedNorm, neutral_weight


class Squared(nn.Module):
    """A norm from elsewhere, which uses its weight in a way of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / x.norm(dim=-1, keepdim=True) * self.weight**2


NORMS: dict[str, tuple[Callable[[int], nn.Module], float | None]] = {
    "LlamaRMSNorm": (LlamaRMSNorm, 1.0),
    "Gemma2RMSNorm": (Gemma2RMSNorm, 0.0),
    "NoNorm": (NoNorm, 1.0),
    "Squared": (Squared, None),
}
EACH = pytest.mark.parametrize("name", ["LayerNorm", *NORMS])


def made(name: str, dtype: torch.dtype) -> nn.Module:
    """A frozen norm that is not plain."""
    norm = nn.LayerNorm(8) if name == "LayerNorm" else NORMS[name][0](8)
    torch.nn.init.normal_(norm.get_parameter("weight"), 1.0, 0.2, torch.Generator().manual_seed(0))
    return norm.to(dtype).requires_grad_(False)


def learnt(norm: nn.Module, n_fits: int) -> StackedNorm:
    """``norm`` with terms that have moved by less than bfloat16 can tell from one."""
    stacked = StackedNorm(norm)
    for term in ("gain", "bias"):
        if getattr(stacked, term) is not None:
            stacked.learn(term, n_fits).data.add_(0.001)
    return stacked


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_one_fit_computes_the_same_as_several(name: str, dtype: torch.dtype) -> None:
    norm = made(name, dtype)
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    single, several = (learnt(norm, n_fits)(x) for n_fits in (1, 2))
    assert single.dtype == several.dtype == norm(x).dtype
    assert torch.equal(single.detach(), several.detach())


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_untrained_terms_change_nothing(name: str, dtype: torch.dtype) -> None:
    norm = made(name, dtype)
    stacked = StackedNorm(norm)
    stacked.learn("gain", 1)
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert torch.equal(stacked(x), norm(x))


@pytest.mark.parametrize("name", NORMS)
def test_what_a_norm_does_with_its_weight_is_found_out(name: str) -> None:
    assert neutral_weight(made(name, torch.bfloat16)) == NORMS[name][1]


@pytest.mark.parametrize("name", [name for name in NORMS if NORMS[name][1] is not None])
def test_compiling_needs_one_graph(name: str) -> None:
    stacked = learnt(made(name, torch.float32), 1)
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(1))
    compiled = torch.compile(stacked, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), stacked(x))
