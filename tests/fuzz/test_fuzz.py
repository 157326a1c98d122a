"""A few examples of each strategy, always the same ones; ``make fuzz`` tries many others."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.folders import every_deed
from fuzz.harness import Tally, explore, observe
from fuzz.parameters import check_complete
from fuzz.strategies import STRATEGIES
from fuzz.subject import Subject

N_EXAMPLES = 40


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, which a parameter may be, are written to a folder of the test."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_but_answers_and_errors_of_ours(name: str, subject: Subject) -> None:
    strategy, _ = STRATEGIES[name]
    tally = explore(strategy, subject, N_EXAMPLES)
    assert not tally.failures, f"\n{tally.report()}"


def test_every_malformed_folder_is_refused_and_every_whole_one_taken(subject: Subject) -> None:
    tally = Tally()
    for example in every_deed():
        observe(example, subject, tally)
    assert not tally.failures, f"\n{tally.report()}"


def test_every_parameter_is_tried() -> None:
    check_complete()
