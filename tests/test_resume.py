"""A fit killed at random moments, the writing included, ends as one that was never stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Each fit is a forked child. Half of them are killed at the n-th call of a function, Python's or
# C's, and the others at the n-th audit event of the interpreter that touches the folder
# (opening, making, renaming, removing) or between the halves of a write. No clock is read, so
# that every run kills at the same moments, however busy the machine is.
KILLER = """
import os, random, signal, sys
from pathlib import Path
import torch
from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.training import checkpoint, fitting, preparing

torch.set_num_threads(1)
backbone, parent = sys.argv[1], Path(sys.argv[2])
words = "good bad happy sad sun rain fast slow new old".split()
texts = [" ".join(words[(3 * i + j) % 10] for j in range(1 + i % 7)) for i in range(21)]
labels = [["blue", "green", "red"][len(text) % 3] for text in texts]

def write_in_halves(file, content):
    with open(file, "wb") as stream:
        stream.write(content[: len(content) // 2])
        stream.flush()
        sys.audit("half")
        stream.write(content[len(content) // 2 :])

def call_of_n(at):
    # For sys.setprofile: counts calls, and kills at the given one.
    def profile(frame, event, argument):
        if event in ("call", "c_call"):
            profile.n += 1
            if profile.n == at:
                os.kill(os.getpid(), signal.SIGKILL)
    profile.n = 0
    return profile

def fit(folder, kill_at=None, kill_at_call=None):
    clf = LNTunedTransformerClassifier(
        backbone, max_epochs=2, min_steps=0, batch_size=6, early_stopping=True, random_state=0,
        device="cpu", precision="float32", checkpoint=folder, checkpoint_every=1,
    )
    if kill_at is not None:
        left = iter(range(kill_at))
        def hook(event, arguments):
            counts = event == "half" or str(folder) in str(arguments[:1])
            if counts and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
        Path.write_bytes = write_in_halves
        sys.addaudithook(hook)
    profile = call_of_n(kill_at_call)
    sys.setprofile(profile)
    clf.fit(texts, labels)
    sys.setprofile(None)
    (parent / "n_calls").write_text(str(profile.n))
    log = [{key: own for key, own in row.items() if key != "dur"} for row in clf.log_]
    delta = {name: own.tobytes() for name, own in clf.delta_.items()}
    return repr((log, delta, clf.n_steps_))

def child(folder, **options):
    pid = os.fork()
    if pid == 0:
        try:
            result = fit(folder, **options)
            (parent / f"{folder.name}.txt").write_text(result)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return pid

def end(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# What the children import is imported once, here; no gradient is computed before a fork.
warm = get_backbone(backbone)
warm.model(torch.float32, torch.device("cpu"))
warm.tokens.table(texts, 16)

assert end(child(parent / "whole")) == 0
n_calls = int((parent / "n_calls").read_text())
whole = (parent / "whole.txt").read_text()

chance = random.Random(0)
kills, n_folders = [0, 0], 0
folder = parent / "0"
while sum(kills) < 10:
    by_call = kills[0] <= kills[1]
    if by_call:
        pid = child(folder, kill_at_call=chance.randrange(n_calls // 10, 9 * n_calls // 10))
    else:
        pid = child(folder, kill_at=chance.randrange(120))
    code = end(pid)
    assert code in (0, -signal.SIGKILL), code
    if code:
        kills[0 if by_call else 1] += 1
    else:
        assert (parent / f"{folder.name}.txt").read_text() == whole, folder
        n_folders += 1
        folder = parent / str(n_folders)
assert end(child(folder)) == 0
assert (parent / f"{folder.name}.txt").read_text() == whole, folder
assert {path.name for path in folder.iterdir()} <= {"lock", "state"}
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_ten_kills_at_random_moments_change_nothing(
    tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tiny_backbone()), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
