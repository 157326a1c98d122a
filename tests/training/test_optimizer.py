"""AdamW for several fits at once against PyTorch's, one fit at a time."""

from __future__ import annotations

import pytest
import torch

from sklearn_lntune.training.optimizer import StackedAdamW

RATES, DECAYS = [1e-2, 3e-1, 5e-3], [0.0, 0.3, 0.01]
SHAPES = [(4,), (2, 5), (2, 3, 2)]


def stacked() -> tuple[list[torch.Tensor], StackedAdamW]:
    generator = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(3, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in SHAPES
    ]
    groups: list[dict[str, object]] = [
        {
            "params": [weight],
            "peak_lr": torch.tensor(RATES, dtype=torch.float64),
            "weight_decay": torch.tensor(DECAYS if i else [0.0] * 3, dtype=torch.float64),
        }
        for i, weight in enumerate(weights)
    ]
    return weights, StackedAdamW(groups)


def gradients(weights: list[torch.Tensor], step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [
        torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights
    ]


def factors(step: int) -> torch.Tensor:
    return torch.tensor([1.0, 0.5 + 0.1 * step, 1 / (1 + step)], dtype=torch.float64)


def test_each_fit_moves_as_by_itself() -> None:
    weights, ours = stacked()
    apart = []
    for fit in range(3):
        own = [weight[fit].detach().clone().requires_grad_() for weight in weights]
        groups = [
            {"params": [w], "weight_decay": DECAYS[fit] if i else 0.0} for i, w in enumerate(own)
        ]
        apart.append((own, torch.optim.AdamW(groups, lr=RATES[fit])))
    for step in range(12):
        moved = gradients(weights, step)
        for weight, gradient in zip(weights, moved, strict=True):
            weight.grad = gradient.clone()
        for group in ours.param_groups:
            group["lr"] = factors(step) * group["peak_lr"]
        ours.step()
        for fit, (own, optimizer) in enumerate(apart):
            for weight, gradient in zip(own, moved, strict=True):
                weight.grad = gradient[fit].clone()
            for group in optimizer.param_groups:
                group["lr"] = RATES[fit] * float(factors(step)[fit])
            optimizer.step()
    for fit, (own, optimizer) in enumerate(apart):
        for weight, expected in zip(weights, own, strict=True):
            torch.testing.assert_close(weight[fit], expected, rtol=1e-12, atol=1e-12)
            for key, value in optimizer.state[expected].items():
                found = ours.state[weight][key][fit]
                torch.testing.assert_close(
                    found, value, rtol=1e-12, atol=1e-12, check_dtype=key != "step"
                )


def test_a_fit_that_is_held_stays_bit_for_bit() -> None:
    weights, ours = stacked()
    for step in range(3):
        for weight, gradient in zip(weights, gradients(weights, step), strict=True):
            weight.grad = gradient
            if step:
                weight.grad[1] = 0.0
        rates = torch.tensor([1.0, 0.0 if step else 1.0, 1.0], dtype=torch.float64)
        for group in ours.param_groups:
            group["lr"] = rates * group["peak_lr"]
        before = [weight.detach().clone() for weight in weights]
        ours.step()
        for weight, earlier in zip(weights, before, strict=True):
            assert torch.equal(weight[1], earlier[1]) == bool(step)
            assert not torch.equal(weight[0], earlier[0])


@pytest.mark.parametrize("missing", [0, 2])
def test_what_has_no_gradient_is_passed_over(missing: int) -> None:
    weights, ours = stacked()
    for i, (weight, gradient) in enumerate(zip(weights, gradients(weights, 0), strict=True)):
        weight.grad = None if i == missing else gradient
    for group in ours.param_groups:
        group["lr"] = group["peak_lr"]
    before = weights[missing].detach().clone()
    ours.step()
    assert torch.equal(weights[missing], before)
    assert weights[missing] not in ours.state
