from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import floats, integers, sampled_from
from torch.nn.utils import clip_grad_norm_

from sklearn_lntune.training.rules import (
    Progress,
    Snapshot,
    clip_gradients,
    divide_gradients,
    lr_factor,
    on_host,
    set_lr,
)
from sklearn_lntune.training.settings import SCHEDULES

SHAPES = [(4,), (2, 3), (5,)]


def factors(n_steps: int, warmup: float, schedule: str) -> list[float]:
    return [lr_factor(step, n_steps, warmup, schedule) for step in range(n_steps)]


def with_gradients(n_fits: int, scale: float = 1.0, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.zeros(n_fits, *shape, dtype=torch.float64) for shape in SHAPES]
    for parameter in parameters:
        values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.grad = scale * values
    return parameters


def bounds(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradients(parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    return [p.grad.clone() for p in parameters if p.grad is not None]


def test_linear_falls_in_equal_steps_towards_zero() -> None:
    assert factors(4, 0.0, "linear") == [1.0, 0.75, 0.5, 0.25]


def test_cosine_falls_slowly_then_fast_then_slowly() -> None:
    expected = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert factors(4, 0.0, "cosine") == pytest.approx(expected)
    assert expected[2] == pytest.approx(0.5)


def test_constant_stays_at_the_peak() -> None:
    assert factors(4, 0.0, "constant") == [1.0] * 4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_rises_in_equal_steps_to_the_peak(schedule: str) -> None:
    found = factors(10, 0.4, schedule)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert found[5:] == factors(6, 0.0, schedule)[1:]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_of_everything_ends_at_the_peak(schedule: str) -> None:
    assert factors(5, 1.0, schedule) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_beyond_the_last_step_there_is_no_error(schedule: str) -> None:
    assert lr_factor(4, 4, 0.0, schedule) == pytest.approx(float(schedule == "constant"))
    assert lr_factor(4, 4, 1.0, schedule) == 1.0


@given(n_steps=integers(1, 500), warmup=floats(0, 1), schedule=sampled_from(SCHEDULES))
def test_factor_is_positive_at_most_one_and_rises_then_falls(
    n_steps: int, warmup: float, schedule: str
) -> None:
    found = factors(n_steps, warmup, schedule)
    assert all(0 < factor <= 1 for factor in found)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_set_lr_scales_each_groups_own_peak() -> None:
    weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.AdamW(
        [
            {"params": [weights[0]], "lr": 9.0, "peak_lr": 1e-2},
            {"params": [weights[1]], "lr": 9.0, "peak_lr": 1e-3},
        ]
    )
    for factor in (0.5, 0.25):
        set_lr(optimizer, factor)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0025, 0.00025]


def test_divided_gradients_are_those_of_the_mean() -> None:
    x = torch.arange(6.0).view(3, 2)
    one, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    unused = torch.ones(2, requires_grad=True)
    (x @ one).square().sum().backward()
    (x @ other).square().mean().backward()
    divide_gradients([one, unused], torch.tensor([3.0]))
    assert one.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(one.grad, other.grad)
    assert unused.grad is None


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_one_fit_equals_torchs(max_norm: float) -> None:
    ours, theirs = with_gradients(1), with_gradients(1)
    norms = clip_gradients(ours, bounds(max_norm))
    expected = clip_grad_norm_(theirs, max_norm)
    assert norms.shape == (1,)
    torch.testing.assert_close(norms[0], expected)
    # torch adds 1e-6 to the norm before it divides.
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=1e-6, atol=0)


def test_clipping_acts_on_each_fit_separately() -> None:
    stacked = with_gradients(3)
    for parameter in stacked:
        assert parameter.grad is not None
        parameter.grad *= torch.tensor([10.0, 0.01, 1.0]).view(3, *(1,) * (parameter.dim() - 1))
    before = gradients(stacked)
    norms = clip_gradients(stacked, bounds(1.0, 1.0, 1.0))
    assert ((norms > 1) == torch.tensor([True, False, True])).all()
    for fit in range(3):
        single = [torch.zeros_like(gradient[fit : fit + 1]) for gradient in before]
        for parameter, gradient in zip(single, before, strict=True):
            parameter.grad = gradient[fit : fit + 1].clone()
        torch.testing.assert_close(clip_gradients(single, bounds(1.0))[0], norms[fit])
        own = [gradient[fit : fit + 1] for gradient in gradients(stacked)]
        torch.testing.assert_close(own, gradients(single))
    assert all(torch.equal(b[1], a[1]) for b, a in zip(before, gradients(stacked), strict=True))


def test_without_a_limit_norms_are_told_and_gradients_stay() -> None:
    parameters = with_gradients(2, scale=100)
    before = gradients(parameters)
    norms = clip_gradients(parameters, bounds(math.inf, math.inf))
    expected = [math.sqrt(sum(float(g[fit].square().sum()) for g in before)) for fit in range(2)]
    assert norms.tolist() == pytest.approx(expected)
    assert all(torch.equal(b, a) for b, a in zip(before, gradients(parameters), strict=True))


def test_a_zero_gradient_stays_zero() -> None:
    parameters = with_gradients(2, scale=0.0)
    assert clip_gradients(parameters, bounds(1.0, 1.0)).tolist() == [0.0, 0.0]
    assert all((gradient == 0).all() for gradient in gradients(parameters))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_fit_that_diverges_shows_and_leaves_the_others_alone(value: float) -> None:
    parameters, sound = with_gradients(3), with_gradients(3)
    assert parameters[1].grad is not None
    parameters[1].grad[1, 0, 0] = value
    norms = clip_gradients(parameters, bounds(1.0, 1.0, 1.0))
    clip_gradients(sound, bounds(1.0, 1.0, 1.0))
    assert torch.isfinite(norms).tolist() == [True, False, True]
    for found, expected in zip(gradients(parameters), gradients(sound), strict=True):
        torch.testing.assert_close(found[[0, 2]], expected[[0, 2]])


def test_parameters_without_gradient_are_passed_over() -> None:
    parameters = [torch.zeros(1, 2), *with_gradients(1)]
    torch.testing.assert_close(
        clip_gradients(parameters, bounds(1.0)), clip_gradients(with_gradients(1), bounds(1.0))
    )
    assert parameters[0].grad is None


def test_progress_of_three_fits() -> None:
    progress = Progress(n_fits=3)
    assert progress.best_epoch.tolist() == [0, 0, 0]
    scores = [[0.1, 0.9, 0.5], [0.2, 0.8, 0.5], [0.3, 0.7, 0.6], [0.2, 0.95, 0.6]]
    better = [
        progress.note_scores(epoch, np.array(row)).tolist()
        for epoch, row in enumerate(scores, start=1)
    ]
    assert better == [
        [True, True, True],
        [True, False, False],
        [True, False, True],
        [False, True, False],
    ]
    assert progress.best_score.tolist() == [0.3, 0.95, 0.6]
    assert progress.best_epoch.tolist() == [3, 4, 3]
    assert progress.epochs_since_best.tolist() == [1, 0, 1]
    assert progress.out_of_patience(1).tolist() == [True, False, True]
    assert progress.out_of_patience(2).tolist() == [False, False, False]


def test_patience_runs_out_after_that_many_epochs_without_a_best() -> None:
    progress = Progress(n_fits=1)
    spent = []
    for epoch, score in enumerate([0.5, 0.4, 0.6, 0.6, 0.5, 0.7], start=1):
        progress.note_scores(epoch, np.array([score]))
        spent.append(bool(progress.out_of_patience(2)[0]))
    assert spent == [False, False, False, False, True, False]


def test_a_score_that_is_not_a_number_is_no_best() -> None:
    progress = Progress(n_fits=2)
    assert progress.note_scores(1, np.array([np.nan, 0.5])).tolist() == [False, True]
    assert progress.note_scores(2, np.array([0.1, np.nan])).tolist() == [True, False]
    assert progress.best_epoch.tolist() == [2, 1]


def test_negative_scores_can_be_best() -> None:
    progress = Progress(n_fits=1)
    assert progress.note_scores(1, np.array([-5.0])).tolist() == [True]
    assert progress.note_scores(2, np.array([-4.0])).tolist() == [True]


def values(parameters: list[torch.Tensor]) -> list[float]:
    return [float(parameter.detach().flatten()[0]) for parameter in parameters]


def fill(parameters: list[torch.Tensor], value: float) -> None:
    with torch.no_grad():
        for parameter in parameters:
            parameter.fill_(value)


def test_a_snapshot_restores_what_it_last_took() -> None:
    parameters = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
    snapshot = Snapshot(parameters)
    fill(parameters, 1.0)
    snapshot.restore()
    assert values(parameters) == [0.0, 0.0]
    fill(parameters, 2.0)
    snapshot.take()
    for later in (3.0, 4.0):
        fill(parameters, later)
        snapshot.restore()
        assert values(parameters) == [2.0, 2.0]
    assert all(p.requires_grad and p.is_leaf for p in parameters)


def test_small_deltas_are_copied_every_step() -> None:
    parameters = [torch.zeros(5)]
    snapshot = Snapshot(parameters)
    for step in range(3):
        fill(parameters, step)
        snapshot.take(step)
        fill(parameters, -1.0)
        snapshot.restore()
        assert values(parameters) == [step]


def test_large_deltas_are_copied_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Snapshot, "values_per_step", 2)
    parameters = [torch.zeros(4), torch.zeros(2)]
    snapshot = Snapshot(parameters)
    kept = []
    for step in range(7):
        fill(parameters, step)
        snapshot.take(step)
        snapshot.restore()
        kept.append(values(parameters)[1])
    assert kept == [0, 0, 0, 3, 3, 3, 6]


def test_losses_and_norms_come_to_the_host_together() -> None:
    losses = torch.tensor([1.5, math.nan], requires_grad=True)
    found = on_host(losses, torch.tensor([math.inf, 2.0], dtype=torch.float64))
    np.testing.assert_array_equal(found[0], [1.5, math.nan])
    np.testing.assert_array_equal(found[1], [math.inf, 2.0])


def test_fits_that_were_not_scored_keep_their_best_and_their_patience() -> None:
    progress = Progress(n_fits=3)
    progress.note_scores(1, np.array([0.5, 0.5, 0.5]))
    only = np.array([True, False, True])
    better = progress.note_scores(2, np.array([0.6, 0.9, 0.4]), only)
    assert better.tolist() == [True, False, False]
    assert progress.best_score.tolist() == [0.6, 0.5, 0.5]
    assert progress.best_epoch.tolist() == [2, 1, 1]
    assert progress.epochs_since_best.tolist() == [0, 0, 1]


def test_a_snapshot_of_some_fits() -> None:
    parameters = [torch.zeros(3, 2, requires_grad=True), torch.zeros(3, 1, 2, requires_grad=True)]
    snapshot = Snapshot(parameters, n_fits=3)
    fill(parameters, 1.0)
    snapshot.take(fits=np.array([False, True, False]))
    fill(parameters, 2.0)
    snapshot.restore(np.array([True, True, False]))
    for parameter in parameters:
        assert parameter.detach().reshape(3, 2)[:, 0].tolist() == [0.0, 1.0, 2.0]
    snapshot.restore()
    for parameter in parameters:
        assert parameter.detach().reshape(3, 2)[:, 0].tolist() == [0.0, 1.0, 0.0]
