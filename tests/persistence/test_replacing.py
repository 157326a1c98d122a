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

    The steps are the interpreter's audit events: opening, locking, listing, making,
    renaming, exchanging, removing.
    """

    def __init__(self) -> None:
        self.thread = 0
        self.between: Callable[[], None] | None = None
        sys.addaudithook(self.hook)  # for good

    def hook(self, event: str, arguments: Any) -> None:
        counts = event.split(".")[0] in ("open", "os", "shutil", "ctypes", "fcntl")
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
        with steps.calling_at(step, lambda: replacing.remove(path)) as done, gone:
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
@pytest.mark.parametrize("others", [1, 2])
def test_saves_at_any_step_of_a_save(
    name: str, others: int, way: str, steps: Steps, tmp_path: Path
) -> None:
    path = tmp_path / name
    write_sealed(path, version(1))

    def save_and_load() -> None:
        for number in range(3, 3 + others):
            write_sealed(path, version(number))
            assert number_at(path) == number

    for step in count():
        with steps.calling_at(step, save_and_load) as done:
            write_sealed(path, version(2))
        assert number_at(path) in {2, 2 + others}
        only(path)
        if not done:
            break
    assert step > 10


@KINDS
def test_first_saves_at_the_same_time(name: str, way: str, steps: Steps, tmp_path: Path) -> None:
    for step in count():
        path = tmp_path / str(step) / name
        with steps.calling_at(step, lambda path=path: write_sealed(path, version(3))) as done:
            write_sealed(path, version(2))
        assert number_at(path) in {2, 3}
        only(path)
        if not done:
            break
    assert step > 10


def test_what_is_free_in_a_folder_survives_saves_at_the_same_time(
    way: str, steps: Steps, tmp_path: Path
) -> None:
    path = tmp_path / "saved"
    write_sealed(path, version(1))
    (path / ".git").mkdir()
    (path / ".git" / "HEAD").write_text("mine")
    (path / "README-notes").write_text("mine")
    for step in count():
        with steps.calling_at(step, lambda: write_sealed(path, version(3))) as done:
            write_sealed(path, version(2))
        assert (path / ".git" / "HEAD").read_text() == "mine"
        assert (path / "README-notes").read_text() == "mine"
        only(path)
        if not done:
            break
    assert step > 10


def test_a_file_system_without_locks_keeps_what_may_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(lock: Any, **options: Any) -> None:
        raise OSError("no locks")

    token = "0" * 32
    for ending in ("new", "lock"):
        (tmp_path / f".saved.{token}.{ending}").write_text("")
    monkeypatch.setattr(replacing.FileLock, "acquire", unsupported)
    write_sealed(tmp_path / "saved", version(1))
    assert number_at(tmp_path / "saved") == 1
    names = {each.name for each in tmp_path.iterdir()}
    assert names == {"saved", f".saved.{token}.new", f".saved.{token}.lock"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_saves_and_loads_of_several_processes(tmp_path: Path) -> None:
    # One process imports what the six forked from it need.
    program = (
        "import os, sys; from pathlib import Path\n"
        "from sklearn_lntune.persistence.sealed import read_sealed, write_sealed\n"
        "def work(number, folder):\n"
        "    for i in range(20):\n"
        "        path = folder / ('saved', 'saved.zip')[i % 2]\n"
        "        if number:\n"
        "            files = {'config.json': number * 50, 'delta.safetensors': number * 3000}\n"
        "            write_sealed(path, files)\n"
        "        else:\n"
        "            found = read_sealed(path)\n"
        "            assert len({byte for content in found.values() for byte in content}) == 1\n"
        "children = []\n"
        "for number in (b'2', b'3', b'', b'', b'', b''):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        work(number, Path(sys.argv[1]))\n"
        "        sys.exit()\n"
        "    children.append(child)\n"
        "sys.exit(any([os.waitpid(child, 0)[1] for child in children]))\n"
    )
    for name in ("saved", "saved.zip"):
        write_sealed(tmp_path / name, version(1) | {"README.md": b"1"})
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["saved", "saved.zip"]


# -- what killed ones leave ----------------------------------------------------------------


@KINDS
def test_what_killed_saves_left_is_removed_by_the_next(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (tmp_path / f".{name}.{'1' * 32}.new").mkdir()
    (tmp_path / f".{name}.{'1' * 32}.new" / "config.json").write_text("half")
    (tmp_path / f".{name}.{'1' * 32}.lock").write_text("")
    (tmp_path / f".{name}.{'2' * 32}.new").write_text("half")
    (tmp_path / f".{name}.{'3' * 32}.lock").write_text("")
    (tmp_path / f".{name}.{'4' * 32}.old").mkdir()
    (tmp_path / f".{name}.previous").mkdir()  # of an earlier version
    others = [f".other.{'1' * 32}.new", f".{name}.{'1' * 31}.new", f".{name}.txt", f".{name}.new"]
    for other in others:
        (tmp_path / other).write_text("of somebody else")
    write_sealed(path, version(1))
    assert {each.name for each in tmp_path.iterdir()} == {name, *others}


PROGRAM = """
import sys; from pathlib import Path
from sklearn_lntune.persistence.replacing import replacement
with replacement(Path(sys.argv[1])) as fresh:
    fresh.write_text("half")
    print(fresh, flush=True)
    sys.stdin.read()
"""


@KINDS
def test_what_a_process_has_written_stays_until_it_is_killed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        fresh = Path(other.stdout.readline().strip())
        for number in (1, 2):
            write_sealed(path, version(number))
            assert fresh.read_text() == "half"
        other.kill()
    assert fresh.exists()
    write_sealed(path, version(3))
    assert number_at(path) == 3
    only(path)


@pytest.mark.parametrize("aside", [f".saved.{'1' * 32}.old", ".saved.previous"])
def test_a_crash_between_two_renames_is_no_loss(aside: str, way: str, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    write_sealed(path, version(1))
    path.rename(tmp_path / aside)
    assert number_at(path) == 1
    assert saved_in(tmp_path) == {"saved": path}
    assert [each.name for each in tmp_path.iterdir()] == [aside]
    write_sealed(path, version(2))
    assert number_at(path) == 2
    only(path)


@pytest.mark.parametrize("aside", [f".saved.{'1' * 32}.old", ".saved.previous"])
def test_what_was_moved_aside_outlives_a_save_that_fails(aside: str, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    write_sealed(path, version(1))
    path.rename(tmp_path / aside)
    with pytest.raises(FileNotFoundError):
        write_sealed(path, {**version(2), "README.md": tmp_path / "nothing"})
    assert number_at(path) == 1


def test_a_writer_that_was_taken_for_dead_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tokens = replacing.FileLock.acquire, []

    def acquire(lock: Any, **options: Any) -> Any:
        held = real(lock, **options)
        tokens.append(lock.lock_file)
        if len(tokens) == 1:
            os.unlink(lock.lock_file)  # as somebody who cleans up does
        return held

    monkeypatch.setattr(replacing.FileLock, "acquire", acquire)
    with replacing.replacement(tmp_path / "saved.zip") as fresh:
        assert len(set(tokens)) == 2
        assert fresh.with_suffix(".lock").exists()
        fresh.write_text("whole")
    only(tmp_path / "saved.zip")


def test_reading_again_where_it_was_replaced_by_the_end(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    write_sealed(path, version(1))
    numbers = iter((2, 3))

    def read_and_replace(where: Path) -> bytes:
        content = (where / "README.md").read_bytes()
        for number in numbers:
            write_sealed(path, version(number))
            break
        return content

    assert replacing.read_steadily(path, read_and_replace, until_the_end=True) == b"3"


def test_of_several_moved_aside_the_last_is_read(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    for token in "21":
        write_sealed(path, version(int(token)))
        path.rename(tmp_path / f".saved.{token * 32}.old")
    assert number_at(path) == 1


def test_a_very_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".zip")
    for number in (1, 2):
        write_sealed(path, version(number))
        assert number_at(path) == number
    only(path)
