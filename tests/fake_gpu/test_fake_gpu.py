"""All cases of the modules named below on a GPU that is not there, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from launching import ROOT

from sklearn_lntune.backbone.compiled import has_compiler

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``stub.cpp``, compiled against the installed PyTorch."""
    if not sys.platform.startswith("linux") or not has_compiler():
        pytest.skip("needs Linux and a C++ compiler")
    if torch.backends.cuda.is_built():
        pytest.skip("this build of PyTorch has a device guard for CUDA already")
    torch_home = Path(torch.__file__).parent
    include = torch_home / "include"
    library = tmp_path_factory.mktemp("stub") / "stub.so"
    command = [
        *(os.environ.get("CXX", "g++"), "-std=c++20", "-O0", "-shared", "-fPIC"),
        *(str(HERE / "stub.cpp"), "-o", str(library)),
        *(f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}"),
        *(f"-L{torch_home / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torch_home / 'lib'}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return library


@pytest.mark.parametrize("cases", ["apple", "fits", "predictions"])
def test_on_a_gpu_that_is_not_there(cases: str, stub: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "program.py"), str(stub), str(HERE / f"{cases}.py")]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path / 'inner'}"]
    environment = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "FAKE_GPU_KIND": "mps" if cases == "apple" else "cuda"}
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout[-20000:] + done.stderr[-4000:], pytrace=False)
