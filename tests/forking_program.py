"""What tests/test_forking.py runs: a parent that has computed, and a forked child for each case.

Called with a backbone and a file for what was found: by case, None or what went wrong. The
backbone is wide enough for PyTorch to compute with two threads.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.model_selection import cross_val_score
from tokenizers.pre_tokenizers import PreTokenizer

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier, fused_fits
from sklearn_lntune.backbone import activation_cache, pool
from sklearn_lntune.forking import ForkSafeLock
from sklearn_lntune.inputs.tables import open_source

#: A child that hangs is ended by then: a net below the tests, which none of them waits for.
SECONDS = 300
WORDS = "good bad happy sad sun rain fast slow new old red blue".split()
TEXTS = [" ".join(WORDS[(3 * i + j) % 12] for j in range(20 + i % 7)) for i in range(48)]
LABELS = ["even" if i % 3 else "odd" for i in range(48)]

torch.set_num_threads(2)
BACKBONE = sys.argv[1]


def classifier(**params: Any) -> LNTunedTransformerClassifier:
    quick = {"max_epochs": 2, "min_steps": 0, "batch_size": 24, "random_state": 0}
    return LNTunedTransformerClassifier(
        BACKBONE, **{**quick, "device": "cpu", "precision": "float32", **params}
    )


def in_child(case: Callable[[], Any]) -> str | None:
    """Run ``case`` in a forked child: None, or what went wrong there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            case()
            os._exit(0)
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:])
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGALRM:
        return f"no answer in {SECONDS} s"
    return None if code == 0 else f"exit status {code}: {said}"


def check(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)  # threads round differently


clf = classifier().fit(TEXTS, LABELS)
narrow = classifier(precision="bfloat16").fit(TEXTS, LABELS)
other = classifier(random_state=1).fit(TEXTS, LABELS)
bank = DeltaBank({"one": clf, "other": other})
probabilities, vectors = clf.predict_proba(TEXTS), clf.embed(TEXTS)
rounded = narrow.predict_proba(TEXTS)
banked = bank.predict_proba(TEXTS)
scores = cross_val_score(clf, TEXTS, LABELS, cv=2)
activation_cache.MEMORY_BYTES = 0  # activations go to a file
top = classifier(tuning="head").fit(TEXTS, LABELS)


def predicts() -> None:
    check(clf.predict_proba(TEXTS), probabilities)
    check(clf.embed(TEXTS), vectors)


def starts_with_an_empty_pool() -> None:
    assert len(pool._pool) == 0
    predicts()
    assert len(pool._pool) == 1


def predicts_in_bfloat16() -> None:
    np.testing.assert_allclose(narrow.predict_proba(TEXTS), rounded, rtol=0, atol=0.02)


def fits() -> None:
    again = classifier().fit(TEXTS, LABELS)
    for name, values in clf.delta_.items():
        check(again.delta_[name], values)
    clf.partial_fit(TEXTS, LABELS)


def fits_upper_blocks() -> None:
    again = classifier(tuning="head").fit(TEXTS, LABELS)
    for name, values in top.delta_.items():
        check(again.delta_[name], values)


def a_bank_predicts() -> None:
    found = bank.predict_proba(TEXTS)
    for name in banked:
        check(found[name], banked[name])
    bank.add("third", top)
    check(bank.predict_proba(TEXTS)["third"], top.predict_proba(TEXTS))


def a_search_is_fused() -> None:
    with fused_fits():
        check(cross_val_score(clf, TEXTS, LABELS, cv=2), scores)


def threads_of_the_child_predict() -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(clf.embed(TEXTS))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for one in found:
        check(one, vectors)


def a_child_of_the_child_predicts() -> None:
    predicts()
    assert in_child(predicts) is None


# -- what the parent was about when it forked -----------------------------------------------


def while_another_thread(does: Callable[[Callable[[], None]], None], case: Any) -> str | None:
    """Run ``case`` in a child; the parent forks when ``does`` has called what it is given."""
    there, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        there.set()
        go_on.wait()

    def run() -> None:
        try:
            does(wait)
        finally:
            there.set()  # whatever goes wrong, nobody waits for it

    thread = threading.Thread(target=run)
    thread.start()
    there.wait()
    try:
        return in_child(case)
    finally:
        go_on.set()
        thread.join()


def holds_all_locks(wait: Callable[[], None]) -> None:
    locks = [each for each in gc.get_objects() if type(each) is ForkSafeLock]
    with contextlib.ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        wait()


def computes_a_fingerprint(wait: Callable[[], None]) -> None:
    """In the meantime it holds a lock."""
    identity_parts, parent = pool.identity_parts, os.getpid()

    def slow(*args: Any) -> dict[str, Any]:
        if os.getpid() == parent:
            wait()
        return identity_parts(*args)

    fresh = pool.Backbone(pool.resolve(BACKBONE), False)
    pool.identity_parts = slow
    try:
        assert fresh.fingerprint
    finally:
        pool.identity_parts = identity_parts


def tokenises(wait: Callable[[], None]) -> None:
    """A tokenizer at work in another thread refuses every change, in the child for ever."""
    core = pool.get_backbone(BACKBONE).tokenizer.backend_tokenizer

    class Waiting:
        def pre_tokenize(self, text: Any) -> None:
            wait()

    before = core.pre_tokenizer
    core.pre_tokenizer = PreTokenizer.custom(Waiting())
    core.encode_batch_fast(["good"])
    core.pre_tokenizer = before


def inside_fused_fits(case: Callable[[], None]) -> str | None:
    with fused_fits():
        return in_child(case)


def inside_a_task(case: Callable[[], None]) -> str | None:
    """Two tasks: one forks while the other waits for its fit to be served."""
    found: list[str | None] = []

    def task(number: int) -> None:
        if number:
            classifier().fit(TEXTS, LABELS)
        else:
            found.append(in_child(case))

    with fused_fits():
        joblib.Parallel()(joblib.delayed(task)(i) for i in range(2))
    return found[0]


def with_multiprocessing(case: Callable[[], None]) -> str | None:
    process = multiprocessing.get_context("fork").Process(target=case)
    process.start()
    process.join(SECONDS)
    code = process.exitcode
    process.kill()
    return None if code == 0 else f"exit status {code}"


# -- what the parent keeps ---------------------------------------------------------------


def files_stay() -> str | None:
    """The parent's files are there when a child has ended, whichever way."""
    import datasets

    kept = pool.get_backbone(BACKBONE)._activations
    assert kept is not None
    rows = datasets.Dataset.from_dict({"text": TEXTS}).to_iterable_dataset()
    copy: Any = open_source(rows).kept(["text"])  # type: ignore[union-attr]
    table = pool.get_backbone(BACKBONE).tokens.table(_table(), 16)
    files = [*Path(kept[1]._folder or "").iterdir(), *copy._files]
    assert len({file.parent for file in files}) == 2
    problems = [in_child(pool.clear_backbones), in_child(lambda: None), in_child(_ends_in_order)]
    problems += [f"{file} is gone" for file in files if not file.exists()]
    assert len(table) == len(TEXTS)
    gone = copy._files[0].parent
    del copy
    problems += [f"{gone} has stayed"] if gone.exists() else []
    said = [problem for problem in problems if problem]
    return "; ".join(said) or None


def _table() -> Any:
    import datasets

    from sklearn_lntune.inputs.text.opening import TextInput

    return TextInput().open(datasets.Dataset.from_dict({"text": TEXTS})).examples


def _ends_in_order() -> None:
    """As ``sys.exit`` at the end of a program, with what is registered for it."""
    import atexit

    atexit._run_exitfuncs()


def the_parent_goes_on() -> str | None:
    """It has its threads, its pool and its answers as before."""
    held = len(pool._pool)
    problem = in_child(lambda: None)
    assert torch.get_num_threads() == 2
    assert len(pool._pool) == held > 0
    predicts()
    return problem


CHILDREN = (
    predicts,
    starts_with_an_empty_pool,
    predicts_in_bfloat16,
    fits,
    fits_upper_blocks,
    a_bank_predicts,
    a_search_is_fused,
    threads_of_the_child_predict,
    a_child_of_the_child_predicts,
)


CASES: dict[str, Callable[[], str | None]] = {
    **{case.__name__: (lambda case=case: in_child(case)) for case in CHILDREN},
    "inside fused_fits": lambda: inside_fused_fits(a_search_is_fused),
    "inside a task: search": lambda: inside_a_task(a_search_is_fused),
    "inside a task: predicts": lambda: inside_a_task(predicts),
    "by multiprocessing": lambda: with_multiprocessing(predicts),
    "locks are held: predicts": lambda: while_another_thread(holds_all_locks, predicts),
    "locks are held: fits": lambda: while_another_thread(holds_all_locks, fits_upper_blocks),
    "locks are held: bank": lambda: while_another_thread(holds_all_locks, a_bank_predicts),
    "a fingerprint": lambda: while_another_thread(computes_a_fingerprint, predicts),
    "tokens": lambda: while_another_thread(tokenises, a_bank_predicts),
    "the parent goes on": the_parent_goes_on,
    "files stay": files_stay,
}

if __name__ == "__main__":
    found: dict[str, str | None] = {}
    for name, run in CASES.items():
        try:
            found[name] = run()
        except BaseException:
            found[name] = traceback.format_exc()
    Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")
