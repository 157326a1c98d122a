"""Start a script in two processes, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def launch(program: Path, *args: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``program`` in two processes on this machine's CPU."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    command += ["--dynamo_backend=no", "--num_cpu_threads_per_process=1"]
    command += ["--main_process_port=0"]  # a free one
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HOME": str(folder)}
    return subprocess.run(
        [*command, str(program), *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,  # a net: no test waits for it
    )
