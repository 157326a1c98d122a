"""A few examples of each strategy, always the same ones; ``make fuzz`` tries many others."""

from __future__ import annotations

from typing import Any

import pytest
from fuzz.folders import every_deed
from fuzz.harness import Tally, explore, observe
from fuzz.parameters import check_complete
from fuzz.strategies import STRATEGIES
from fuzz.subject import Subject

N_EXAMPLES = 40
#: Strategies that still find faults; one that does not any more has to leave the list.
FAULTY = {
    *("labels", "weights", "parameters", "forged", "adapters", "checkpoints", "banks", "folders"),
}


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("fuzz"))


def _each() -> list[Any]:
    known = pytest.mark.xfail(reason="faults are known", strict=True)
    return [pytest.param(name, marks=known if name in FAULTY else ()) for name in STRATEGIES]


@pytest.mark.parametrize("name", _each())
def test_nothing_but_answers_and_errors_of_ours(name: str, subject: Subject) -> None:
    strategy, _ = STRATEGIES[name]
    tally = explore(strategy, subject, N_EXAMPLES)
    assert not tally.failures, f"\n{tally.report()}"


@pytest.mark.xfail(reason="faults are known", strict=True)
def test_every_malformed_folder_is_refused_and_every_whole_one_taken(subject: Subject) -> None:
    tally = Tally()
    for example in every_deed():
        observe(example, subject, tally)
    assert not tally.failures, f"\n{tally.report()}"


def test_every_parameter_is_tried() -> None:
    check_complete()
