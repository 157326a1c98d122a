"""A crash at any step of writing leaves the old classifier or the new one, whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sklearn_lntune import LNTunedTransformerClassifier, load
from sklearn_lntune.persistence import replacing
from sklearn_lntune.persistence.sealed import write_sealed

Write = Callable[[Path], None]
KINDS = pytest.mark.parametrize("name", ["saved", "saved.zip"])
OLD, NEW, NEXT = 1.0, 2.0, 3.0

#: The calls that change the disk; each may fail.
STEPS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "mkdir"),
    (shutil, "copyfile"),
    (Path, "replace"),
    (Path, "write_bytes"),
    (replacing, "_exchange"),
]

#: What is killed while it is written: the name, whether there is an old one, and the way.
KILLED: dict[str, tuple[str, bool, bool]] = {
    "folder": ("saved", True, False),
    "folder by two renames": ("saved", True, True),
    "zip": ("saved.zip", True, False),
    "folder with its backbone": ("whole/saved", True, False),
    "first folder": ("saved", False, False),
    "first zip": ("saved.zip", False, False),
}

# For each of the above forks a child for each step and ends it there with SIGKILL. The steps are
# the audit events of the interpreter (opening, making, renaming, removing), and half of each write.
KILLER = """
import itertools, json, os, shutil, signal, sys
from pathlib import Path
from sklearn_lntune.persistence import replacing
from sklearn_lntune.persistence.sealed import write_sealed

def write_in_halves(file, content):
    with open(file, "wb") as stream:
        stream.write(content[: len(content) // 2])
        stream.flush()
        sys.audit("half")
        stream.write(content[len(content) // 2 :])

def write(target, step, files, two_renames):
    if two_renames:
        replacing._exchange = lambda *names: False
    left = iter(range(step))
    def hook(event, arguments):
        counts = event.split(".")[0] in ("open", "os", "shutil", "half") and event != "os.kill"
        if counts and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
    Path.write_bytes = write_in_halves
    sys.addaudithook(hook)
    write_sealed(target, files)
    os._exit(0)

def kill_at_each_step(parent, old, new, has_old, two_renames):
    files = {
        file.relative_to(new).as_posix(): file if "backbone" in file.parts else file.read_bytes()
        for file in sorted(new.rglob("*"))
        if file.is_file() and file.name != "SHA256SUMS"
    }
    copy = shutil.copytree if old.is_dir() else shutil.copy
    for step in itertools.count():
        target = parent / str(step) / old.name
        target.parent.mkdir(parents=True)
        if has_old:
            copy(old, target)
        child = os.fork()
        if child == 0:
            write(target, step, files, two_renames)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            break
        assert code == -signal.SIGKILL, code

for parent, old, new, *way in json.loads(sys.argv[1]):
    kill_at_each_step(*map(Path, (parent, old, new)), *way)
"""


@pytest.fixture(scope="module")
def saved(
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder of three classifiers, told apart by their ``lr`` and by their deltas."""
    clf = LNTunedTransformerClassifier(
        tiny_backbone(), max_epochs=1, min_steps=0, random_state=0, device="cpu"
    ).fit(texts, labels)
    parent = tmp_path_factory.mktemp("three")
    for lr in (OLD, NEW, NEXT):
        clf.set_params(lr=lr)
        clf.delta_ = {name: lr + 0 * value for name, value in clf.delta_.items()}
        clf.save(parent / str(lr) / "saved")
        clf.save(parent / str(lr) / "saved.zip")
        clf.save(parent / str(lr) / "whole" / "saved", include_backbone=True)
    return parent


def files_of(folder: Path) -> dict[str, bytes | Path]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "SHA256SUMS"
    }


def put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def which(path: Path) -> float:
    """``lr`` of the classifier at ``path``; its delta must be that of the same one."""
    clf = load(path)
    (value,) = {value for array in clf.delta_.values() for value in array.ravel().tolist()}
    assert value == clf.lr
    return value


# -- the process is killed -----------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each of ``KILLED`` a folder with one for each step at which its writer was killed."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    parent, jobs = tmp_path_factory.mktemp("killed"), []
    for case, (name, has_old, two_renames) in KILLED.items():
        new = saved / str(NEW) / ("whole/saved" if name.startswith("whole") else "saved")
        old = saved / str(OLD) / name
        jobs.append((str(parent / case), str(old), str(new), has_old, two_renames))
    subprocess.run([sys.executable, "-c", KILLER, json.dumps(jobs)], check=True)
    return parent


@pytest.mark.parametrize("case", KILLED)
def test_a_kill_at_any_step_leaves_the_old_one_or_the_new(
    case: str, killed: Path, saved: Path
) -> None:
    name, has_old, _ = KILLED[case]
    steps = sorted(int(folder.name) for folder in (killed / case).iterdir())
    found = []
    for step in steps:
        target = killed / case / str(step) / Path(name).name
        before = sorted(target.parent.iterdir())
        found.append(which(target) if has_old or target.exists() else OLD)
        assert sorted(target.parent.iterdir()) == before  # reading repairs nothing
        write_sealed(target, files_of(saved / str(NEXT) / "saved"))
        assert which(target) == NEXT
        assert list(target.parent.iterdir()) == [target]  # what the killed one left is gone
    assert len(steps) > 5
    assert found == sorted(found)  # the old one, or nothing, up to some step, then the new one
    assert (found[0], found[-1]) == (OLD, NEW)


# -- a step fails --------------------------------------------------------------------------


class Failing:
    """Stands before calls and fails at the ``at``-th, or from there on."""

    def __init__(self, at: int, *, for_good: bool, error: type[BaseException]) -> None:
        self.left = at
        self.for_good = for_good
        self.error = error

    @property
    def was_called(self) -> bool:
        return self.left < 0

    def put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self.before(getattr(owner, name)))

    def before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0 and (self.for_good or self.left == -1):
                raise self.error(f"no {real.__name__}")
            return real(*args, **kwargs)

        return call


def raises(write: Write, target: Path, failing: Failing) -> bool:
    """Whether writing raises; some failures do no harm, as that to make a folder anew."""
    with pytest.MonkeyPatch.context() as patch:
        failing.put(patch)
        try:
            write(target)
        except failing.error:
            return True
    return False


@pytest.mark.parametrize("name", ["saved", "saved.zip", "saved by two renames"])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_at_any_step_leaves_the_old_one_or_the_new(
    saved: Path,
    name: str,
    for_good: bool,
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name.endswith("renames"):
        monkeypatch.setattr(replacing, "_exchange", lambda *names: False)
        monkeypatch.setattr("persistence.test_crash.STEPS", STEPS[:-1])
        name = "saved"
    source = saved / str(NEW) / ("saved" if name.endswith(".zip") else "whole/saved")
    files = files_of(source)
    if name == "saved":
        files |= {key: source / key for key in files if key.startswith("backbone/")}
    found = []
    for step in count():
        target = tmp_path / str(step) / name
        put(saved / str(OLD) / name, target)
        failing = Failing(step, for_good=for_good, error=error)
        raised = raises(partial(write_sealed, files=files), target, failing)
        found.append(which(target))
        assert raised or found[-1] == NEW
        left = [path.name for path in target.parent.iterdir()]
        assert left == [name] or for_good  # what was begun is taken away
        write_sealed(target, files_of(saved / str(NEXT) / "saved"))
        assert which(target) == NEXT
        if not failing.was_called:
            break
    assert len(found) > 3
    assert set(found) == {OLD, NEW}


@KINDS
def test_an_error_at_any_step_of_save_is_raised(
    saved: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(saved / str(OLD) / name, tmp_path / name)
    new = load(saved / str(NEW) / name)
    Failing(0, for_good=True, error=OSError).put(monkeypatch)
    with pytest.raises(OSError, match="no "):
        new.save(tmp_path / name)
    monkeypatch.undo()
    assert which(tmp_path / name) == OLD
    new.save(tmp_path / name)
    assert which(tmp_path / name) == NEW
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_while_copying_a_backbone_is_no_loss(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(saved / str(OLD) / "saved", tmp_path / "saved")
    new = load(saved / str(NEW) / "saved")
    full = Failing(1, for_good=True, error=OSError).before(shutil.copyfile)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="no copyfile"):
        new.save(tmp_path / "saved", include_backbone=True)
    assert which(tmp_path / "saved") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
