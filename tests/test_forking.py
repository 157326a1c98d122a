"""A forked child answers as its parent does, and leaves what is the parent's alone."""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_backbone

import sklearn_lntune
from sklearn_lntune import LNTunedTransformerClassifier, forking
from sklearn_lntune.forking import ForkSafeLock, on_fork, remove_with

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
PROGRAM = Path(__file__).with_name("forking_program.py")
CASES = (
    *("predicts", "starts_with_an_empty_pool", "predicts_in_bfloat16"),
    *("fits", "fits_upper_blocks", "a_bank_predicts"),
    *("a_search_is_fused", "threads_of_the_child_predict", "a_child_of_the_child_predicts"),
    *(
        "inside fused_fits",
        "inside a task: search",
        "inside a task: predicts",
        "by multiprocessing",
    ),
    *("locks are held: predicts", "locks are held: fits", "locks are held: bank"),
    *("a fingerprint", "tokens", "the parent goes on", "files stay"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What went wrong in each case, all of them run in one process and its children."""
    folder = tmp_path_factory.mktemp("forking")
    # Wide enough for PyTorch to share the work among threads.
    backbone = save_backbone(folder / "bert", hidden_size=128, intermediate_size=256)
    answer = folder / "found.json"
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(backbone), str(answer)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, str | None] = json.loads(answer.read_text("utf-8"))
    assert sorted(found) == sorted(CASES)
    return found


@needs_fork
@pytest.mark.parametrize("case", CASES)
def test_after_a_fork(case: str, found: dict[str, str | None]) -> None:
    assert found[case] is None


@needs_fork
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize(("seconds", "waits"), [(60.0, True), (0.0, False)])
def test_a_fork_waits_for_threads_that_compute(
    seconds: float, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them may hold a lock of MKL, which would stay locked in the child."""
    monkeypatch.setattr(forking, "QUIET_SECONDS", seconds)
    started, ended = threading.Event(), threading.Event()

    def compute() -> None:
        started.set()
        hashlib.pbkdf2_hmac("sha256", b"text", b"salt", 1_000_000)  # without Python's own lock
        ended.set()

    thread = threading.Thread(target=compute)
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        os._exit(ended.is_set() != waits)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_fork
def test_a_child_of_a_parent_that_computed_without_us(tmp_path: Path) -> None:
    """The parent loads a classifier, and only the user's own code uses torch."""
    backbone = save_backbone(tmp_path / "bert", hidden_size=128, intermediate_size=256)
    clf = LNTunedTransformerClassifier(backbone, max_epochs=1, min_steps=0, device="cpu")
    clf.fit(["good", "bad"], [0, 1]).save(tmp_path / "clf.zip")
    program = """
import os, signal, sys
import torch
from sklearn_lntune import load
torch.set_num_threads(2)
clf = load("clf.zip")
assert "sklearn_lntune.backbone.pool" not in sys.modules
torch.rand(2048, 2048) @ torch.rand(2048, 2048)
child = os.fork()
if child == 0:
    signal.alarm(300)  # a net: ends a child that hangs
    clf.predict([f"{'good bad happy sad sun rain ' * 6} {i}" for i in range(40)])
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def test_where_torch_refuses_gradients_a_fit_says_so(
    tiny_clf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does beside a GPU in the child of a process that has trained."""

    def refuse(*args: Any, **options: Any) -> None:
        raise RuntimeError("Unable to handle autograd's threading")

    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(forking, "_forked", True)
    with pytest.raises(ValueError, match="was forked from one that had trained"):
        tiny_clf().fit(["good", "bad"], [0, 1])


def test_callbacks_live_as_long_as_their_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    class Held:
        def renew(self) -> None:
            called.append("method")

    monkeypatch.setattr(forking, "_functions", [])
    monkeypatch.setattr(forking, "_methods", {})
    monkeypatch.setattr(forking, "_forked", False)
    monkeypatch.setattr(forking, "_forked_with_torch", False)
    held = Held()
    on_fork(held.renew)
    on_fork(lambda: called.append("function"))
    forking._in_child()
    assert called == ["method", "function"]
    assert forking.is_forked()
    del held
    gc.collect()
    forking._in_child()
    assert called == ["method", "function", "function"]


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock])
def test_a_lock_excludes_others_until_it_is_renewed(kind: Callable[[], object]) -> None:
    lock = ForkSafeLock(kind)

    def is_free() -> bool:
        answers: list[bool] = []
        inner = lock._lock

        def ask() -> None:
            answers.append(inner.acquire(blocking=False))
            if answers[-1]:
                inner.release()

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return answers[0]

    assert is_free()
    with lock:
        held = lock._lock
        assert not is_free()
        lock._renew()
        assert is_free()
        lock._lock = held
    assert is_free()


def test_a_folder_goes_with_its_owner_in_the_process_that_made_it(tmp_path: Path) -> None:
    class Owner:
        pass

    for made_by, stays in ((os.getpid(), False), (os.getpid() + 1, True)):
        folder, owner = tmp_path / str(made_by), Owner()
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda pid=made_by: pid)
            remove_with(owner, str(folder))
        del owner
        gc.collect()
        assert folder.exists() == stays


def test_every_lock_and_every_folder_is_safe() -> None:
    """No module makes a lock that a child might find locked, or removes a folder in a child."""
    unsafe = {"Lock", "RLock", "Semaphore", "BoundedSemaphore", "Event", "Barrier"}
    for file in Path(sklearn_lntune.__file__).parent.rglob("*.py"):
        if file.name == "forking.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            module, _, name = ast.unparse(node.func).rpartition(".")
            if module == "asyncio":  # no event loop goes on in a child
                continue
            assert name not in unsafe, f"{file}:{node.lineno}: use forking.ForkSafeLock"
            if name == "finalize":
                assert "rmtree" not in ast.unparse(node), f"{file}:{node.lineno}: use remove_with"
