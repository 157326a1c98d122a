"""What tests/test_distributed.py launches in several processes: fits, one after the other.

Called with a file of cases and a folder for what each process found.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from skorch.callbacks import Callback

RANK = int(os.environ.get("RANK", "0"))


class Spoiler(Callback):
    """In process ``rank``, do ``deed`` as batch ``at`` begins, or as epoch ``at`` ends."""

    def __init__(self, deed: str, rank: int, at: int) -> None:
        self.deed, self.rank, self.at = deed, rank, at
        self.n_batches = self.n_epochs = 0

    def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
        self.n_batches += 1
        if self.rank != RANK or self.n_batches != self.at:
            return
        if self.deed == "NaN":
            with torch.no_grad():
                net.module_.learnt["head/weight"].fill_(float("nan"))
        if self.deed == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
        if self.deed == "fail":
            raise LookupError("spoilt")
        if self.deed == "stop in an epoch":
            raise KeyboardInterrupt

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.n_epochs += 1
        if self.rank == RANK and self.n_epochs == self.at and self.deed == "stop":
            raise KeyboardInterrupt


class RankScore:
    """A score that rises in the main process and falls in the others."""

    def __init__(self) -> None:
        self.given: list[float] = []

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        step = 1.0 if RANK == 0 else -1.0
        self.given.append(step * (1 + len(self.given)))
        return self.given[-1]


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Fit as ``case`` says; what came of it, all of it plain."""
    from sklearn_lntune import (
        LNTunedTransformerClassifier,
        LNTunedTransformerRegressor,
        LNTunedTransformerTagger,
    )

    score = RankScore()
    args = case.get("other_args", {}).get(RANK, case["args"])
    params = case["params"] | case.get("other_params", {}).get(RANK, {})
    if "checkpoint" in params and "RANK" not in os.environ:
        params["checkpoint"] += "-alone"  # nothing of what the processes wrote
    if "spoil" in case:
        params["callbacks"] = [Spoiler(**case["spoil"])]
    if params.get("scoring") == "of rank":
        params["scoring"] = score
    numbers, tags = case.get("numbers", False), case.get("tags", False)
    made = LNTunedTransformerRegressor if numbers else LNTunedTransformerClassifier
    clf: Any = (LNTunedTransformerTagger if tags else made)(**params, distributed=True)
    error, sizes = None, []
    all_reduce = torch.distributed.all_reduce

    def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if tensor.is_floating_point():  # not when they only meet
            sizes.append(tensor.nbytes)
        return all_reduce(tensor, *args, **kwargs)

    torch.distributed.all_reduce = counted
    try:
        for call in case.get("calls", ["fit"]):
            try:
                getattr(clf, call)(**args)
            except KeyboardInterrupt:
                if not case.get("goes_on"):
                    raise
                torch.distributed.barrier()  # until the main process has written its state
    except (Exception, KeyboardInterrupt) as raised:
        error = f"{type(raised).__name__}: {raised}"
    finally:
        torch.distributed.all_reduce = all_reduce
    found = {"error": error, "sizes": sizes, "scores": score.given, "delta": None}
    if hasattr(clf, "delta_"):
        pickled = pickle.dumps(clf.set_params(callbacks=None, scoring="loss"))
        found |= {"delta": clf.delta_, "log": clf.log_, "n_steps": clf.n_steps_}
        found |= {"pickle": len(pickled)}
        back = pickle.loads(pickled)
        outputs = back.predict if numbers else back.predict_proba
        found["logits"] = np.concatenate(outputs(args["X"][:5]), axis=None)
    return found


if __name__ == "__main__":
    cases, folder = joblib.load(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    joblib.dump({name: run(case) for name, case in cases.items()}, folder / f"rank{RANK}")
