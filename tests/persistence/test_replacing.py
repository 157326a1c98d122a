"""Saving and loading at the same time: everybody sees the old one or the new one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sklearn_lntune.bank.shelf import saved_in
from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.persistence import replacing
from sklearn_lntune.persistence.sealed import read_sealed, write_sealed

KINDS = pytest.mark.parametrize("name", ["saved", "saved.zip"])


def version(number: int) -> dict[str, bytes]:
    """Files of one kind; no two versions share a byte that is checked."""
    digit = str(number).encode()
    return {"config.json": digit * 50, "delta.safetensors": digit * 3000, "README.md": digit}


def number_at(path: Path) -> int:
    """Which version is at ``path``; it must be whole."""
    contents = read_sealed(path)
    (digit,) = {byte for name in ("config.json", "delta.safetensors") for byte in contents[name]}
    assert len(contents["delta.safetensors"]) == 3000
    return int(chr(digit))


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to replace a folder; the second is that of other systems than Linux."""
    if request.param == "two renames":
        monkeypatch.setattr(replacing, "_exchange", lambda *names: False)
    return str(request.param)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no machine stops in these tests


class Steps:
    """Calls something before each step of this thread that reads or changes the disk.

    The steps are the interpreter's audit events: opening, listing, making, renaming,
    removing. An exchange of names is between two of them.
    """

    def __init__(self) -> None:
        self.thread = 0
        self.between: Callable[[], None] | None = None
        sys.addaudithook(self.hook)  # for good

    def hook(self, event: str, arguments: Any) -> None:
        counts = event.split(".")[0] in ("open", "os", "shutil")
        if self.between is None or threading.get_ident() != self.thread or not counts:
            return
        between, self.between = self.between, None
        try:
            between()
        finally:
            self.between = between

    @contextlib.contextmanager
    def calling(self, between: Callable[[], None]) -> Iterator[None]:
        self.thread, self.between = threading.get_ident(), between
        try:
            yield
        finally:
            self.between = None

    @contextlib.contextmanager
    def calling_at(self, step: int, between: Callable[[], None]) -> Iterator[list[int]]:
        """Call it once; the list is empty where there are not so many steps."""
        done: list[int] = []
        passed = count()

        def once() -> None:
            if next(passed) == step:
                done.append(step)
                between()

        with self.calling(once):
            yield done


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps()


def only(path: Path) -> None:
    """Nothing temporary is left beside ``path``."""
    assert [each.name for each in path.parent.iterdir()] == [path.name]


# -- a load beside a save ----------------------------------------------------------------


@KINDS
def test_a_load_at_any_step_of_a_save(name: str, way: str, steps: Steps, tmp_path: Path) -> None:
    path = tmp_path / name
    write_sealed(path, version(1))
    seen: list[int] = []
    with steps.calling(lambda: seen.append(number_at(path))):
        write_sealed(path, version(2))
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert {*seen, number_at(path)} == {1, 2}
    only(path)


@KINDS
@pytest.mark.parametrize("saves", [1, 2])
def test_a_save_at_any_step_of_a_load(
    name: str, saves: int, way: str, steps: Steps, tmp_path: Path
) -> None:
    path = tmp_path / name
    versions = range(2, 2 + saves)
    found = []
    for step in count():
        write_sealed(path, version(1))
        with steps.calling_at(
            step, lambda: [write_sealed(path, version(each)) for each in versions] and None
        ) as done:
            found.append(number_at(path))
        if not done:
            break
    assert step > 4 if name == "saved" else step > 1
    assert set(found) <= {1, versions[-1]}
    assert found[0] == versions[-1]
    assert found[-1] == 1


def test_a_load_renames_nothing(way: str, steps: Steps, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    write_sealed(path, version(1))

    def load_and_compare() -> None:
        before = sorted(each.name for each in tmp_path.iterdir())
        number_at(path)
        assert sorted(each.name for each in tmp_path.iterdir()) == before

    with steps.calling(load_and_compare):
        write_sealed(path, version(2))


def test_a_bank_sees_a_folder_at_any_step_of_a_save(way: str, steps: Steps, tmp_path: Path) -> None:
    write_sealed(tmp_path / "saved", version(1))
    seen = []
    with steps.calling(lambda: seen.append(saved_in(tmp_path))):
        write_sealed(tmp_path / "saved", version(2))
    assert all(found == {"saved": tmp_path / "saved"} for found in seen)


def test_what_is_removed_during_a_load_is_said_to_be_gone(steps: Steps, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    for step in count():
        write_sealed(path, version(1))
        gone = contextlib.suppress(DamagedFileError)  # from some step on all has been read
        with steps.calling_at(step, lambda: replacing._remove(path)) as done, gone:
            assert number_at(path) == 1
        if not done:
            break
    assert step > 4


def test_damage_is_not_taken_for_a_replacement(way: str, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    write_sealed(path, version(1))
    (path / "config.json").write_bytes(b"other")
    with pytest.raises(DamagedFileError, match=r"config\.json is damaged"):
        read_sealed(path)


# -- several saves -----------------------------------------------------------------------


@KINDS
def test_two_saves_at_once(name: str, way: str, steps: Steps, tmp_path: Path) -> None:
    for step in count():
        path = tmp_path / str(step) / name
        write_sealed(path, version(1))
        errors: list[BaseException] = []

        def other(path: Path = path, errors: list[BaseException] = errors) -> None:
            try:
                write_sealed(path, version(3))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=other)
        with steps.calling_at(step, thread.start) as done:
            write_sealed(path, version(2))
        if not done:
            break
        thread.join()
        assert not errors
        assert number_at(path) in (2, 3)
        only(path)
    assert step > 10


def test_whoever_waits_for_a_lock_that_is_removed_takes_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    path, lock = tmp_path / "saved", tmp_path / ".saved.lock"
    first = contextlib.ExitStack()
    assert first.enter_context(replacing._alone(path))
    real = fcntl.flock
    asked = []

    def flock(handle: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            asked.append(os.fstat(handle).st_ino)
            first.close()  # just now
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with replacing._alone(path) as alone:
        assert alone
        assert len(asked) == 2
        handle = os.open(lock, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            real(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
    assert not lock.exists()


def test_without_locks_a_save_leaves_what_may_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(lock: Path) -> Callable[[], None]:
        raise OSError("no locks")

    monkeypatch.setattr(replacing, "_acquired", unsupported)
    monkeypatch.setattr(replacing, "_acquired_elsewhere", unsupported)
    maybe = tmp_path / f".saved.{'0' * 32}.new"
    maybe.mkdir()
    write_sealed(tmp_path / "saved", version(1))
    assert maybe.exists()
    assert number_at(tmp_path / "saved") == 1


@KINDS
def test_where_there_is_no_flock_it_is_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "fcntl", None)  # as on Windows
    path = tmp_path / name
    for number in (1, 2):
        write_sealed(path, version(number))
        assert number_at(path) == number
        only(path)


def test_saves_and_loads_of_several_processes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from sklearn_lntune.persistence.sealed import read_sealed, write_sealed\n"
        "what, folder, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3].encode()\n"
        "for i in range(20):\n"
        "    path = folder / ('saved', 'saved.zip')[i % 2]\n"
        "    if what == 'write':\n"
        "        files = {'config.json': number * 50, 'delta.safetensors': number * 3000}\n"
        "        write_sealed(path, files)\n"
        "    else:\n"
        "        found = read_sealed(path)\n"
        "        assert len({byte for content in found.values() for byte in content}) == 1\n"
    )
    for name in ("saved", "saved.zip"):
        write_sealed(tmp_path / name, version(1) | {"README.md": b"1"})
    doing = [
        subprocess.Popen([sys.executable, "-c", program, what, str(tmp_path), number])
        for what, number in [("write", "2"), ("write", "3"), *[("read", "")] * 4]
    ]
    assert [each.wait() for each in doing] == [0] * 6
    assert sorted(each.name for each in tmp_path.iterdir()) == ["saved", "saved.zip"]


# -- what killed ones leave ----------------------------------------------------------------


@KINDS
def test_what_killed_saves_left_is_removed_by_the_next(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (tmp_path / f".{name}.{'1' * 32}.new").mkdir()
    (tmp_path / f".{name}.{'1' * 32}.new" / "config.json").write_text("half")
    (tmp_path / f".{name}.{'2' * 32}.new").write_text("half")
    (tmp_path / f".{name}.lock").write_text("")
    others = [f".other.{'1' * 32}.new", f".{name}.{'1' * 31}.new", f".{name}.txt", f".{name}.new"]
    for other in others:
        (tmp_path / other).write_text("of somebody else")
    write_sealed(path, version(1))
    assert {each.name for each in tmp_path.iterdir()} == {name, *others}


@KINDS
def test_what_a_save_in_progress_has_written_stays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / name
    write_sealed(path, version(1))
    waits = threading.Event()
    real = fcntl.flock

    def flock(handle: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and threading.current_thread() is second:
            waits.set()
        real(handle, operation)

    second = threading.Thread(target=write_sealed, args=(path, version(3)))
    monkeypatch.setattr(fcntl, "flock", flock)
    with replacing.replacement(path) as fresh:
        second.start()
        waits.wait()
        made = tmp_path / "made" / name
        write_sealed(made, version(2))
        made.replace(fresh)
        assert fresh.exists()
        assert number_at(path) == 1
    second.join()
    assert number_at(path) == 3
    (tmp_path / "made").rmdir()
    only(path)


def test_a_crash_between_two_renames_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "_exchange", lambda *names: False)
    path = tmp_path / "saved"
    write_sealed(path, version(1))
    path.rename(tmp_path / ".saved.previous")
    assert number_at(path) == 1
    assert saved_in(tmp_path) == {"saved": path}
    write_sealed(path, version(2))
    assert number_at(path) == 2
    only(path)


def test_a_very_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".zip")
    for number in (1, 2):
        write_sealed(path, version(number))
        assert number_at(path) == number
    only(path)
