"""Fits side by side learn what each would learn by itself."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from families import known_families

from sklearn_lntune import TrainingDivergedError
from sklearn_lntune.fusion import lockstep
from sklearn_lntune.network import Network
from sklearn_lntune.training import fitting
from sklearn_lntune.training.job import Job, Outcome
from sklearn_lntune.tuning import LayerNormTuning, LoraTuning, PrefixTuning
from sklearn_lntune.tuning.layers.grouped import NotStackableError

#: Families whose layers compute something in float32 whatever the type.
ROUGH = {"gemma2": 1e-6}
#: Families with a norm that reads relative positions, or rows laid one after the other.
UNSTACKED = ["deberta-v2", "opt"]


def check_equal(found: Outcome, expected: Outcome, tolerance: float = 1e-9) -> None:
    """All but the seconds of an epoch."""
    near = {"rtol": tolerance, "atol": tolerance}
    assert found.delta.keys() == expected.delta.keys()
    for name, value in expected.delta.items():
        assert found.delta[name].dtype == value.dtype
        np.testing.assert_allclose(found.delta[name], value, err_msg=name, **near)
    assert (found.n_steps, found.n_epochs) == (expected.n_steps, expected.n_epochs)
    assert found.embedding_size == expected.embedding_size
    assert len(found.log) == len(expected.log)
    for ours, theirs in zip(found.log, expected.log, strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"dur"}:
            np.testing.assert_allclose(ours[key], theirs[key], err_msg=key, **near)
    assert found.moments.keys() == expected.moments.keys()
    for name, state in expected.moments.items():
        assert found.moments[name].keys() == state.keys()
        for key, value in state.items():
            assert found.moments[name][key].shape == value.shape
            np.testing.assert_allclose(found.moments[name][key], value, err_msg=name, **near)
    assert str(found.error) == str(expected.error)
    assert type(found.error) is type(expected.error)


def check_bank(jobs: Sequence[Job], tolerance: float = 1e-9) -> list[Outcome]:
    together = lockstep.train(jobs)
    assert len(together) == len(jobs)
    for found, job in zip(together, jobs, strict=True):
        check_equal(found, fitting.run(job), tolerance)
    return together


def score_of_class_0(estimator: Any, X: Any, y: Any) -> float:
    return float(estimator.predict_proba(X)[:, 0].mean())


VARIED: list[dict[str, Any]] = [
    {},
    {"lr": 2e-2, "batch_size": 5, "dropout": 0.0, "max_epochs": 3},
    {"lr": {"layernorm": 1e-3, "adapter": 3e-3}, "accumulate": 3, "random_state": 7},
    {"head_lr": 1e-3, "warmup": 0.5, "schedule": "cosine", "weight_decay": 0.3},
    {"schedule": "constant", "warmup": 0.0, "max_grad_norm": None, "dropout": 0.5},
    {"max_grad_norm": 1e-3, "label_smoothing": 0.2, "class_weight": "balanced"},
    {"min_steps": 17, "batch_size": 16, "accumulate": 2, "label_smoothing": 0.1},
    {"early_stopping": True, "patience": 1, "lr": 0.1, "max_epochs": 6, "random_state": 3},
    {"early_stopping": True, "patience": 3, "scoring": "accuracy", "max_epochs": 6},
    {"early_stopping": True, "scoring": score_of_class_0, "validation_fraction": 0.4},
    {"max_length": 5, "weight_decay": 0.0, "max_epochs": 1},
]


@pytest.mark.filterwarnings("ignore:.* texts are longer than max_length=5")
def test_each_fit_follows_its_own_settings(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    weights = np.random.default_rng(0).uniform(0, 2, len(texts)).round()
    jobs = [
        job_of(tiny_clf(tuning="layernorm+adapter", **own).fit, texts, labels) for own in VARIED
    ]
    fit = tiny_clf(tuning="layernorm+adapter", random_state=5).fit
    jobs.append(job_of(fit, texts, labels, weights))
    jobs.append(job_of(fit, texts[:17], labels[:17], X_val=texts[17:], y_val=labels[17:]))
    together = check_bank(jobs)
    epochs = [outcome.n_epochs for outcome in together]
    assert len(set(epochs)) >= 4  # they end at different times
    assert epochs[7] < 6


def test_no_forward_pass_leaves_tensors_that_cannot_be_trained_with(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # ESM in transformers 5.0 keeps the sines of one forward pass for the next.
    made: list[bool] = []
    run = Network._run

    def noted(self: Network, batch: Any) -> Any:
        found = run(self, batch)
        made.append(found.last_hidden_state.is_inference())
        return found

    monkeypatch.setattr(Network, "_run", noted)
    lockstep.train([job_of(tiny_clf(early_stopping=True).fit, texts, labels) for _ in range(2)])
    assert made
    assert not any(made)


@pytest.mark.parametrize("n_tokens", [1, 40, 100_000])
def test_rows_of_a_step_may_run_in_pieces(
    n_tokens: int, tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    jobs = [job_of(tiny_clf(lr=lr, max_epochs=1).fit, texts, labels) for lr in (1e-3, 1e-2)]
    for found, job in zip(lockstep.train(jobs, n_tokens=n_tokens), jobs, strict=True):
        check_equal(found, fitting.run(job))


def test_one_fit_both_ways(tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]) -> None:
    for own in ({"lr": 1e-2}, {"early_stopping": True, "max_epochs": 4, "accumulate": 2}):
        check_bank([job_of(tiny_clf(**own).fit, texts, labels)])


TUNINGS = [
    "head",
    "layernorm",
    "bias",
    "lora",
    "adapter",
    PrefixTuning(length=3, init="vocabulary"),
    PrefixTuning(length=3, init="random"),
    PrefixTuning(length=3, projection=6),
    LayerNormTuning(terms="gain") + LoraTuning(rank=2),
    "layernorm+prefix+adapter",
]


@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
def test_every_method_that_stacks(
    tuning: Any, tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    check_bank(
        [
            job_of(tiny_clf(tuning=tuning, head_lr=lr, random_state=i).fit, texts, labels)
            for i, lr in enumerate((1e-3, 1e-2, 3e-2))
        ]
    )


@pytest.mark.parametrize("family", sorted(set(known_families()) - set(UNSTACKED)))
def test_every_family(
    family: str, tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    jobs = [
        job_of(
            tiny_clf(family, tuning="layernorm+adapter", random_state=i, max_epochs=1).fit,
            texts[:24],
            labels[:24],
        )
        for i in range(2)
    ]
    check_bank(jobs, ROUGH.get(family, 1e-9))


@pytest.mark.parametrize("family", UNSTACKED)
def test_norms_of_something_other_than_rows_do_not_stack(
    family: str, tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    jobs = [job_of(tiny_clf(family, lr=lr).fit, texts, labels) for lr in (1e-3, 1e-2)]
    with pytest.raises(NotStackableError):
        lockstep.train(jobs)


def test_sentence_pairs(tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]) -> None:
    pairs = list(zip(texts, texts[::-1], strict=True))
    check_bank([job_of(tiny_clf(random_state=i).fit, pairs, labels) for i in range(2)])


@pytest.mark.parametrize("tuning", ["head", LayerNormTuning(layers=1)], ids=str)
def test_top_layers_with_the_trunk_kept(
    tuning: Any, tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    own = {"tuning": tuning, "max_epochs": 3, "early_stopping": True}
    jobs = [job_of(tiny_clf(random_state=i, **own).fit, texts, labels) for i in range(3)]
    assert lockstep.StackedTrainer(jobs).fits[0].train.states is not None
    check_bank(jobs)


def test_going_on_with_warm_start(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    jobs = []
    for seed in range(2):
        clf = tiny_clf(warm_start=True, random_state=seed, tuning="layernorm+prefix", max_epochs=1)
        jobs.append(job_of(clf.fit(texts, labels).fit, texts, labels))
        assert jobs[-1].start is not None
    check_bank(jobs)


def test_going_on_with_partial_fit_and_back(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    begun = [
        tiny_clf(random_state=seed).partial_fit(texts, labels, sorted(set(labels)))
        for seed in range(2)
    ]
    jobs = [job_of(copy.deepcopy(clf).partial_fit, texts, labels) for clf in begun]
    assert jobs[0].moments
    together = check_bank(jobs)
    for job, outcome in zip(jobs, together, strict=True):  # what they leave can be gone on from
        apart = fitting.run(job)
        again = [fitting.run(copy.copy(_going_on(job, start))) for start in (outcome, apart)]
        check_equal(again[0], again[1], 1e-8)


def _going_on(job: Job, outcome: Outcome) -> Job:
    from dataclasses import replace

    return replace(job, start=outcome.delta, moments=outcome.moments)


def test_a_fit_that_diverges_ends_alone(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    rates = (1e-2, 1e200, 1e-3)
    jobs = [
        job_of(tiny_clf(lr=lr, head_lr=lr, max_grad_norm=None, warmup=0.0).fit, texts, labels)
        for lr in rates
    ]
    together = lockstep.train(jobs)
    assert [type(outcome.error) for outcome in together] == [
        type(None),
        TrainingDivergedError,
        type(None),
    ]
    for i in (0, 2):
        check_equal(together[i], fitting.run(jobs[i]))
    alone = fitting.run(jobs[1])
    assert together[1].n_steps == alone.n_steps
    assert all(np.isfinite(value).all() for value in together[1].delta.values())
    for name, value in alone.delta.items():
        np.testing.assert_allclose(together[1].delta[name], value, rtol=1e-9)


def test_a_scorer_that_raises_ends_its_fit_alone(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    def broken(estimator: Any, X: Any, y: Any) -> float:
        raise LookupError("broken")

    own = [{"scoring": "loss"}, {"scoring": broken}, {"scoring": "accuracy"}]
    jobs = [job_of(tiny_clf(early_stopping=True, **each).fit, texts, labels) for each in own]
    together = lockstep.train(jobs)
    assert isinstance(together[1].error, LookupError)
    for i in (0, 2):
        check_equal(together[i], fitting.run(jobs[i]))


def test_cancelled_fits_end_and_the_others_go_on(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    jobs = [job_of(tiny_clf(random_state=i).fit, texts, labels) for i in range(3)]
    steps: list[int] = []
    ended: list[tuple[int, int]] = []
    together = lockstep.train(
        jobs,
        cancelled=lambda fit: fit == 1 and len(steps) == 4,
        on_step=steps.append,
        on_end=lambda *fit: ended.append(fit),
    )
    assert isinstance(together[1].error, KeyboardInterrupt)
    assert together[1].n_steps == 4
    assert sorted(ended) == [(0, 10), (1, 4), (2, 10)]
    assert steps == [3] * 4 + [2] * 6
    for i in (0, 2):
        check_equal(together[i], fitting.run(jobs[i]))


def test_a_step_that_the_memory_does_not_hold_runs_in_smaller_pieces(
    tiny_clf: Any,
    job_of: Any,
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, tried = lockstep.StackedTrainer._gradients, []

    def scarce(bank: Any, drawn: Any) -> Any:
        tried.append(bank.n_tokens)
        found = real(bank, drawn)
        if bank.n_tokens > 300:
            raise torch.OutOfMemoryError
        return found

    monkeypatch.setattr(lockstep.StackedTrainer, "_gradients", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    jobs = [job_of(tiny_clf(random_state=i).fit, texts, labels) for i in range(2)]
    together = lockstep.train(jobs, n_tokens=1000)
    assert tried[:3] == [1000, 500, 250]
    for found, job in zip(together, jobs, strict=True):
        check_equal(found, fitting.run(job))


def own_gradients(lane: Any, values: dict[str, torch.Tensor], drawn: Any) -> list[torch.Tensor]:
    """A lane's gradient from its own network, row by row, without stacking."""
    rows, kept = drawn
    network, job = lane.network, lane.job
    with torch.no_grad():
        for name, weight in network.learnt.items():
            weight[0] = values[name]
            weight.grad = None
    for i, row in enumerate(rows):
        batch = network.batch(lane.train.table, np.array([row]))
        factors = None if kept is None else kept[i : i + 1]
        logits = network(dataclasses.replace(batch, dropout=factors))
        code = torch.from_numpy(lane.train.targets[[row]])
        torch.autograd.backward((job.task.loss(logits, code) * lane.train.weights[row]).sum())
    return [weight.grad[0] for weight in network.learnt.values()]


def test_gradients_of_every_step_in_float32(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = lockstep.StackedTrainer._gradients, []

    def compared(bank: Any, drawn: Any) -> Any:
        found = real(bank, drawn)
        for fit, own in drawn.items():
            values = {name: weight[fit].detach() for name, weight in bank.network.learnt.items()}
            slow = own_gradients(bank.fits[fit], values, own)
            for weight, gradient in zip(bank.steps.parameters, slow, strict=True):
                mean = len(own[0])
                torch.testing.assert_close(
                    weight.grad[fit] / mean, gradient / mean, rtol=1e-5, atol=1e-5
                )
            seen.append(fit)
        return found

    monkeypatch.setattr(lockstep.StackedTrainer, "_gradients", compared)
    own = {"precision": "float32", "max_epochs": 1, "tuning": "layernorm+adapter"}
    fits = [tiny_clf(lr=lr, random_state=i, **own).fit for i, lr in enumerate((1e-3, 1e-2, 3e-2))]
    lockstep.train([job_of(fit, texts, labels) for fit in fits])
    assert len(seen) == 15


def test_deltas_after_200_steps_in_float32(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    own = {"precision": "float32", "min_steps": 200}
    jobs = [
        job_of(tiny_clf(lr=lr, random_state=i, **own).fit, texts, labels)
        for i, lr in enumerate((1e-3, 1e-2))
    ]
    for found, job in zip(lockstep.train(jobs), jobs, strict=True):
        assert found.n_steps == 200
        for name, value in fitting.run(job).delta.items():
            if name.startswith("layernorm"):
                np.testing.assert_allclose(found.delta[name], value, rtol=0, atol=1e-4)


# -- the last step, and scores that are no numbers ----------------------------------------


def test_values_after_the_last_step_are_checked_like_all_others(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    one_step = {"max_epochs": 1, "batch_size": len(texts), "warmup": 0.0}
    sound = job_of(tiny_clf(**one_step).fit, texts, labels)
    bad = [
        job_of(tiny_clf(lr=1e300, **one_step).fit, texts, labels),
        job_of(tiny_clf(head_lr=1e308, **one_step).fit, texts, labels),
        job_of(tiny_clf(lr=1e300, **one_step).fit, texts, labels, X_val=texts, y_val=labels),
        job_of(tiny_clf(lr=1e300, early_stopping=True, **one_step).fit, texts, labels),
    ]
    with np.errstate(all="ignore"):
        found = check_bank([bad[0], sound, *bad[1:]])
    assert found[1].error is None
    for outcome in (found[0], *found[2:]):
        assert isinstance(outcome.error, TrainingDivergedError)
        assert "not finite after the last step in epoch 1, step 1, at" in str(outcome.error)
        assert all(np.isfinite(value).all() for value in outcome.delta.values())
    assert [outcome.n_epochs for outcome in found] == [1, 1, 1, 0, 0]


def test_a_score_that_is_no_number_is_passed_over_in_a_bank(
    tiny_clf: Any, job_of: Any, texts: list[str], labels: list[str]
) -> None:
    def job(values: Sequence[float]) -> Job:
        left = iter(values)
        clf = tiny_clf(early_stopping=True, patience=2, max_epochs=4, scoring=lambda *_: next(left))
        return job_of(clf.fit, texts, labels)

    rows = [(0.3, np.nan, np.nan, 0.2), (np.nan, 0.1, 0.2, 0.3), (0.4, 0.3, 0.2, 0.1)]
    with pytest.warns(UserWarning, match="the validation score of epoch . is nan") as caught:
        together = lockstep.train([job(values) for values in rows])
    assert len(caught) == 2
    assert [outcome.n_epochs for outcome in together] == [4, 4, 3]
    with pytest.warns(UserWarning, match="the validation score of epoch . is nan"):
        alone = [fitting.run(job(values)) for values in rows]
    for found, expected in zip(together, alone, strict=True):
        check_equal(found, expected)
