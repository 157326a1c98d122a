"""The fuzzer tells errors of ours from those of others, and sees what examples leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fuzz import harness
from fuzz.harness import BrokenError, Example, Tally, check, describe, explore, is_documented
from hypothesis import strategies as st

from sklearn_lntune.checks import check_choice, check_number
from sklearn_lntune.classifier import LNTunedTransformerClassifier
from sklearn_lntune.inputs.base import Rows
from sklearn_lntune.persistence.values import decode, decode_array
from sklearn_lntune.task import OneLabel

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are those of Linux")
NOBODY: Any = None  # the examples here need no subject


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_what_we_raise_is_documented() -> None:
    assert is_documented(raised(lambda: check_number("lr", "much")))
    assert is_documented(raised(lambda: check_choice("sites", 3, ("ffn",))))
    assert is_documented(raised(lambda: decode({"nonsense": 1})))


def test_what_scikit_learn_checks_for_us_is_documented() -> None:
    clf = LNTunedTransformerClassifier()
    assert is_documented(raised(lambda: clf.predict(["good"])))  # not fitted
    assert is_documented(raised(lambda: clf.set_params(nonsense=1)))
    assert is_documented(raised(lambda: OneLabel.from_targets([[0, 1], [1, 0]])))


def test_what_others_raise_below_us_is_not() -> None:
    wrong_type = raised(lambda: Rows(3).n_rows)  # type: ignore[arg-type]
    assert isinstance(wrong_type, TypeError)  # of Python's, whose C code has no frame
    assert not is_documented(wrong_type)
    missing = raised(lambda: decode_array({}))
    assert isinstance(missing, KeyError)
    assert not is_documented(missing)
    unreadable = raised(lambda: decode({"path": None}))
    assert isinstance(unreadable, TypeError)  # of pathlib's
    assert not is_documented(unreadable)


def test_what_is_raised_without_us_is_not() -> None:
    assert not is_documented(raised(lambda: json.loads("{")))
    assert not is_documented(raised(lambda: int("x")))
    assert not is_documented(ValueError(""))


def watched(act: Callable[[Any], None]) -> Tally:
    tally = Tally()
    harness.observe(Example("it", act), NOBODY, tally)
    assert tally.total == 1
    return tally


def test_an_answer_is_a_success_and_our_error_is_one_of_ours() -> None:
    assert watched(lambda subject: None).successes == 1
    assert watched(lambda subject: check_number("lr", "much")).errors == 1


def _warn(subject: Any) -> None:
    warnings.warn("of another library", UserWarning, stacklevel=1)


def _overflow(subject: Any) -> None:
    np.array([1e308]) * 10


def _leave_a_variable(subject: Any) -> None:
    os.environ["FUZZ_LEFT"] = "1"


def _draw(subject: Any) -> None:
    torch.rand(1)


def _break(subject: Any) -> None:
    check(False, "a promise")


def _loop(subject: Any) -> None:
    while True:
        pass


def _take_memory(subject: Any) -> None:
    np.ones(harness.MEMORY // 4)  # of eight bytes each


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda subject: json.loads("{"), "JSONDecodeError in json/decoder.py:raw_decode"),
        (_warn, "warning: UserWarning: of another library"),
        (_overflow, "warning: RuntimeWarning: overflow"),
        (_leave_a_variable, "global state has changed: environment"),
        (_draw, "global state has changed: torch's random state"),
        (_break, "broken: a promise"),
        pytest.param(_loop, "takes more than", marks=on_linux),
        pytest.param(_take_memory, "MemoryError", marks=on_linux),
    ],
)
def test_everything_else_is_a_failure(act: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "CPU_SECONDS", 0.2)
    monkeypatch.setattr(harness, "MEMORY", 5 * 10**8)
    with torch.random.fork_rng(devices=[]), monkeypatch.context() as patch:
        patch.delenv("FUZZ_LEFT", raising=False)
        patch.setenv("FUZZ_LEFT", "0")
        tally = watched(act)
    (found,) = tally.failures
    assert found.startswith(kind)
    assert "it" in tally.first[found]
    assert tally.report()


def test_the_same_examples_come_again_and_a_seed_brings_others() -> None:
    def seen(seed: int | None) -> list[str]:
        numbers: list[str] = []
        strategy = st.integers().map(
            lambda i: Example(str(i), lambda subject: numbers.append(str(i)))
        )
        assert explore(strategy, NOBODY, 20, seed).successes >= 10
        return numbers

    assert seen(None) == seen(None)
    assert seen(1) == seen(1)
    assert seen(1) != seen(2)


def test_a_repr_that_fails_is_described_all_the_same() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise LookupError

    assert "LookupError" in describe(Bad())
    assert len(describe("x" * 10**5)) == 160
    with contextlib.suppress(BrokenError):
        check(True, "never seen")
