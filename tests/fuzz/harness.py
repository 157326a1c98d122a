"""Run one example after the other, and sort what happens: success, an error of ours, a failure.

A failure is whatever the documentation does not promise: another library's exception, an
error that is not ours, a warning of another library, more time or memory than a small input
may take, global state that has changed, or a `BrokenError` of the example itself.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import io
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import hypothesis
import numpy as np
import torch
from fuzz.subject import Subject
from hypothesis.strategies import SearchStrategy

import sklearn_lntune

PACKAGE = str(Path(sklearn_lntune.__file__).parent) + os.sep
SKLEARN = f"{os.sep}sklearn{os.sep}"
#: What the documentation names; `NotFittedError` and ours are ``ValueError`` too.
DOCUMENTED = (ValueError, TypeError, ImportError)
#: Functions of scikit-learn's that we call in order that they raise.
VALIDATORS = {
    "_check_sample_weight",
    "assert_all_finite",
    "check_array",
    "check_classification_targets",
    "check_consistent_length",
    "check_is_fitted",
    "check_random_state",
    "column_or_1d",
    "set_params",
    "type_of_target",
    "validate_data",
}
#: What a small input may take, in seconds of this process alone and in bytes.
CPU_SECONDS = 5.0
MEMORY = 2 * 10**9


class BrokenError(Exception):
    """A promise that an example has found broken."""


class TooLongError(BaseException):
    """The example has taken more than `CPU_SECONDS`."""


@dataclass(frozen=True)
class Example:
    """Something to try.

    Attributes
    ----------
    label : str
        What it is, for whoever has to repeat it.
    act : callable
        Does it with the `Subject`; raises what the user would see, or `BrokenError`.
    notes : list of str
        What can be said only when it has been tried.
    """

    label: str
    act: Callable[[Subject], None]
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return self.label + "; ".join(self.notes)


@dataclass
class Tally:
    """Counts of one strategy, and the first example of each kind of failure."""

    successes: int = 0
    errors: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def n_failures(self) -> int:
        """Examples that failed."""
        return self.failures.total()

    @property
    def total(self) -> int:
        """Examples that were tried."""
        return self.successes + self.errors + self.n_failures

    def report(self) -> str:
        """Each kind of failure with its number and first example."""
        return "\n".join(
            f"{n:6d} x {kind}\n         first: {self.first[kind]}"
            for kind, n in self.failures.most_common()
        )


def explore(
    strategy: SearchStrategy[Example], subject: Subject, n: int, seed: int | None = None
) -> Tally:
    """Try about ``n`` examples: always the same ones, or those of a ``seed``."""
    tally = Tally()

    @hypothesis.settings(
        max_examples=n,
        derandomize=seed is None,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def one(example: Example) -> None:
        observe(example, subject, tally)

    if seed is not None:
        one = hypothesis.seed(seed)(one)
    one()
    return tally


def observe(example: Example, subject: Subject, tally: Tally) -> None:
    """Try ``example``, and count what happens."""
    before = _global_state()
    foreign: list[str] = []
    failure, error, detail = None, None, ""
    try:
        with _limits(), _silence(), _warnings_of_others(foreign):
            example.act(subject)
    except BrokenError as broken:
        failure = f"broken: {broken}"
    except TooLongError as late:
        failure = f"takes more than {CPU_SECONDS} s of CPU, in {_place(late.__traceback__)}"
    except BaseException as caught:
        error = caught
        if not is_documented(caught):
            failure = f"{type(caught).__name__} in {_place(caught.__traceback__)}"
            detail = f"{caught!s:.200}"
    if failure is None and foreign:
        failure = f"warning: {foreign[0]:.120}"
    if failure is None and (moved := [k for k, v in _global_state().items() if v != before[k]]):
        failure = f"global state has changed: {', '.join(moved)}"
    if failure is None:
        tally.errors += error is not None
        tally.successes += error is None
        return
    tally.failures[failure] += 1
    tally.first.setdefault(failure, f"{example!r:.600}\n         {detail}".rstrip())


# -- whose error it is -------------------------------------------------------------------


def is_documented(error: BaseException) -> bool:
    """Whether ``error`` is of a documented kind, has a message, and is raised by us.

    The innermost frame is of ours and stands at a ``raise``: an exception of compiled code
    that we call has such a frame too, but at a call. Or the innermost frame of ours has
    called a function of scikit-learn's that is there to check.
    """
    if not isinstance(error, DOCUMENTED) or not str(error).strip():
        return False
    steps = list(_steps(error.__traceback__))
    ours = [i for i, step in enumerate(steps) if _is_ours(step.tb_frame)]
    if not ours:
        return False
    if ours[-1] == len(steps) - 1:
        return _stands_at_raise(steps[-1])
    called = steps[ours[-1] + 1].tb_frame
    module = called.f_globals.get("__name__", "")
    return module.startswith("sklearn.") and called.f_code.co_name in VALIDATORS


def _steps(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(PACKAGE)


def _stands_at_raise(step: TracebackType) -> bool:
    operation = step.tb_frame.f_code.co_code[step.tb_lasti]
    return dis.opname[operation] in ("RAISE_VARARGS", "RERAISE")


def _place(trace: TracebackType | None) -> str:
    """The innermost function of ours, and the innermost of all where that is another."""
    steps = list(_steps(trace))
    ours = [step for step in steps if _is_ours(step.tb_frame)]
    named = [_where(step) for step in [*ours[-1:], *steps[-1:]]]
    return " > ".join(dict.fromkeys(named)) or "?"


def _where(step: TracebackType) -> str:
    code = step.tb_frame.f_code
    file = Path(code.co_filename)
    return f"{file.parent.name}/{file.name}:{code.co_name}"


# -- around an example -------------------------------------------------------------------


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Inside, CPU time and address space are bounded where the system can do so."""
    if not hasattr(signal, "ITIMER_VIRTUAL") or not Path("/proc/self/statm").exists():
        yield
        return
    import resource

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MEMORY
    handler = signal.signal(signal.SIGVTALRM, stop)
    try:
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def _warnings_of_others(foreign: list[str]) -> Iterator[None]:
    """Collect warnings that neither we nor scikit-learn give on purpose."""
    real = warnings.warn

    @functools.wraps(real)
    def warn(*args: Any, **options: Any) -> None:
        caller = sys._getframe(1)
        module = caller.f_globals.get("__name__", "")
        if not _is_ours(caller) and not module.startswith("sklearn."):
            real(*args, **options)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.warn = warn
        try:
            yield
        finally:
            warnings.warn = real
            foreign += [
                f"{each.category.__name__}: {each.message}"
                for each in seen
                if SKLEARN not in each.filename  # of NumPy's C code, while scikit-learn checks
            ]


def _global_state() -> dict[str, Any]:
    """What belongs to the user of the process."""
    from transformers.utils import logging

    return {
        "default type": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "torch's random state": torch.random.get_rng_state().numpy().tobytes(),
        "NumPy's random state": np.random.get_state()[1].tobytes(),  # type: ignore[union-attr]  # noqa: NPY002
        "transformers' verbosity": logging.get_verbosity(),
        "working directory": os.getcwd(),
        "environment": dict(os.environ),
    }


def check(promise: bool, text: str) -> None:
    """Raise a `BrokenError` that says ``text`` unless ``promise`` holds."""
    if not promise:
        raise BrokenError(text)


def describe(value: Any, width: int = 160) -> str:
    """A short form of ``value``, whatever its `repr` does."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
