"""What counts as free memory, on a machine and in a container."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from sklearn_lntune.fusion import memory
from sklearn_lntune.fusion.memory import free_memory

VERSIONS = [
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
]


@pytest.mark.parametrize(("limit", "used"), VERSIONS)
def test_a_container_has_no_more_than_its_limit_leaves(
    limit: str, used: str, tmp_path: Path
) -> None:
    (tmp_path / limit).parent.mkdir(exist_ok=True)
    (tmp_path / limit).write_text("3000000\n", "ascii")
    (tmp_path / used).write_text("1000000\n", "ascii")
    assert free_memory(tmp_path) == 2_000_000
    (tmp_path / used).write_text("3000001\n", "ascii")  # about to be ended
    assert free_memory(tmp_path) == 0


@pytest.mark.parametrize("text", ["max", str(2**63 - 4096)])
@pytest.mark.parametrize(("limit", "used"), VERSIONS)
def test_without_a_limit_the_machine_counts(
    limit: str, used: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine:
        available = 12_345

    monkeypatch.setattr(psutil, "virtual_memory", Machine)
    assert free_memory(tmp_path) == 12_345  # no control groups at all
    (tmp_path / limit).parent.mkdir(exist_ok=True)
    (tmp_path / limit).write_text(f"{text}\n", "ascii")
    (tmp_path / used).write_text("1000000\n", "ascii")
    assert free_memory(tmp_path) == 12_345


def test_the_device_of_the_fits_counts_not_the_one_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # conftest.py replaces the function
    free = {"cuda:0": 8_000, "cuda:1": 6_000}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[str(device)], 10_000))
    monkeypatch.setattr(memory, "free_memory", lambda: 2_000)
    for device, expected in (("cpu", 1_000), ("cuda:0", 4_000), ("cuda:1", 3_000)):
        assert memory.half_of_free(torch.device(device)) == expected
