"""Checkpoints: the whole state of a fit, written to a folder at regular intervals.

The folder contains ``state/`` (``fit.json``, ``arrays.safetensors`` and their digests) and
``lock``. The state is replaced completely or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load, save
from skorch.callbacks import Callback

from sklearn_lntune.checks import check_number, check_path
from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.persistence.sealed import is_there, read_sealed, write_sealed
from sklearn_lntune.persistence.untrusted import parse_json_object
from sklearn_lntune.persistence.values import decode, encode
from sklearn_lntune.training.batches import Begun
from sklearn_lntune.training.rules import Snapshot

#: Increased when the meaning of the files changes; a fit has to end in the format it began with.
FORMAT_VERSION = 1
STATE, LOCK = "state", "lock"
FIT, ARRAYS = "fit.json", "arrays.safetensors"
#: Prefix of digests in the signature of a fit, which messages do not show.
DIGEST = "sha256:"


@contextlib.contextmanager
def opened(
    folder: str | os.PathLike[str] | None, every: int, *, writes: bool = True
) -> Iterator[Checkpoint | None]:
    """The checkpoint in ``folder``, locked for this fit; None without a folder.

    Parameters
    ----------
    folder : str, path or None
    every : int
        Optimiser steps between two checkpoints.
    writes : bool
        Whether this process writes; if several fit together, only one does.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, or another fit uses the folder.
    DamagedFileError
        If the state in it was changed or damaged.
    """
    check_number("checkpoint_every", every, integer=True, low=1)
    if folder is None:
        yield None
        return
    path = check_path("checkpoint", folder)
    _check_folder(path)
    if not writes:
        yield Checkpoint(path, every, writes=False)
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"checkpoint={str(folder)!r} cannot be made ({error}); choose another folder."
        ) from error
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"checkpoint={str(folder)!r} is in use by another fit; choose another folder."
        ) from None
    try:
        for left in path.glob(f".{STATE}.*.new"):  # by a process killed while writing
            shutil.rmtree(left, ignore_errors=True)
        yield Checkpoint(path, every)
    finally:
        lock.release()


def _check_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ValueError(f"checkpoint={str(path)!r} is a file; give a folder.")
    there = [entry.name for entry in path.iterdir()] if path.exists() else []
    other = [name for name in there if name not in (STATE, LOCK) and not name.startswith(".")]
    if other:
        raise ValueError(
            f"checkpoint={str(path)!r} has other things in it ({sorted(other)[:3]}); choose "
            "another folder."
        )


class Checkpoint(Callback):
    """Write the state of a fit to a folder; runs as skorch's last callback.

    Use `opened`, which makes sure that only one fit uses the folder.

    Parameters
    ----------
    folder : Path
    every : int
        Optimiser steps between two writings.
    writes : bool
        Whether this process writes.

    Attributes
    ----------
    finished : bool
        Whether the state found is the end of a fit.
    """

    def __init__(self, folder: Path, every: int, *, writes: bool = True) -> None:
        self.folder = folder
        self.every = every
        self.writes = writes
        self._fit, self._arrays = _read(folder)
        self._kept: dict[str, Any] = {}
        self._epoch_began: torch.Tensor

    @property
    def finished(self) -> bool:
        """Whether the state found is the end of a fit."""
        return bool(self._fit.get("finished"))

    @property
    def step(self) -> int:
        """Steps taken in the state found; 0 without one."""
        return int(self._fit.get("step", 0))

    def seed_or(self, drawn: int) -> int:
        """The seed of the fit that was found; without one, the seed just ``drawn``."""
        return int(self._fit.get("seed", drawn))

    def claim(self, signature: Mapping[str, Any], seed: int) -> None:
        """Use the folder for the fit with this ``signature``.

        Raises
        ------
        ValueError
            If the state found belongs to another fit.
        """
        if self._fit and (told := differences(self._fit["identity"], signature)):
            raise ValueError(
                f"checkpoint={str(self.folder)!r} is that of another fit: {'; '.join(told)}. "
                "Choose another folder, or delete it to start anew."
            )
        self._kept = {"format_version": FORMAT_VERSION, "seed": seed, "identity": dict(signature)}

    def resume(self, net: Any) -> None:
        """Set ``net``, which is ready to train, to the state found, if any.

        Raises
        ------
        DamagedFileError
            If the state is not one of this fit.
        """
        self._epoch_began = net.module_.generator.get_state()
        if not self._fit:
            return
        try:
            self._restore(net)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise DamagedFileError(
                f"checkpoint={str(self.folder)!r} does not hold the state of a fit like this one "
                f"({type(error).__name__}: {error}); delete it to start the fit anew."
            ) from error

    def _restore(self, net: Any) -> None:
        fit, arrays = self._fit, self._arrays
        self._arrays = {}  # may be large
        network, progress = net.module_, net.progress_
        _copy(arrays, "learnt", network.learnt)
        for name, snapshot in _snapshots(net).items():
            snapshot.take()
            _copy(arrays, name, dict(zip(network.learnt, snapshot.copies, strict=True)))
        moments: dict[str, dict[str, np.ndarray]] = {}
        for key, value in _group(arrays, "moments").items():
            kind, _, name = key.partition("/")
            moments.setdefault(name, {})[kind] = value
        net.steps_.load_moments([moments])
        net.steps_.n_epochs[:] = len(fit["history"])
        for group, lr in zip(net.optimizer_.param_groups, fit["lr"], strict=True):
            group["lr"] = lr
        progress.step = fit["step"]
        for name, value in fit["progress"].items():
            setattr(progress, name, np.array(decode(value)))
        for row in fit["history"]:
            net.history.new_epoch()
            for key, value in row.items():
                if not isinstance(number := decode(value), int | float):
                    raise TypeError(f"{key} of an epoch is {number!r:.40}")
                net.history.record(key, number)
        self._epoch_began = torch.tensor(arrays["random/epoch"])
        network.generator.set_state(self._epoch_began)
        net.begun = Begun(
            losses=arrays["batches/train_loss"].tolist(),
            sizes=arrays["batches/train_batch_size"].tolist(),
            random_state=torch.tensor(arrays["random/now"]),
        )
        spent = net.settings.early_stopping and progress.out_of_patience(net.settings.patience)[0]
        net.epochs_left = 0 if self.finished or spent else net.n_epochs - len(fit["history"])

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Record the generator's state, from which the batches of the epoch are drawn."""
        self._epoch_began = net.module_.generator.get_state()

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Write after every ``every`` steps."""
        if training and net.is_between_steps and net.progress_.step % self.every == 0:
            self._write(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the state, from which the next epoch starts."""
        self._epoch_began = net.module_.generator.get_state()
        self._write(net)

    def finish(self, net: Any) -> None:
        """Write the result of a finished fit."""
        if not self.finished:
            self._write(net, finished=True)

    def _write(self, net: Any, finished: bool = False) -> None:
        if not self.writes:
            return
        network, progress = net.module_, net.progress_
        done = [row for row in net.history if "n_steps" in row]
        batches = net.history[-1]["batches"] if len(done) < len(net.history) else []
        fit = {
            **self._kept,
            "finished": finished,
            "lr": [group["lr"] for group in net.optimizer_.param_groups],
            "step": progress.step,
            "progress": {
                name: encode(getattr(progress, name).tolist())
                for name in ("best_score", "best_epoch", "epochs_since_best")
            },
            "history": [
                {key: encode(value) for key, value in row.items() if np.isscalar(value)}
                for row in done
            ],
        }
        arrays = {f"learnt/{name}": _array(weight) for name, weight in network.learnt.items()}
        arrays["random/epoch"] = self._epoch_began.numpy()
        arrays["random/now"] = network.generator.get_state().numpy()
        for key, kind in (("train_loss", np.float64), ("train_batch_size", np.int64)):
            arrays[f"batches/{key}"] = np.array([batch[key] for batch in batches], kind)
        if not finished:
            arrays |= _on_the_way(net)
        text = json.dumps(fit, indent=1, allow_nan=False)
        write_sealed(self.folder / STATE, {FIT: text.encode() + b"\n", ARRAYS: save(arrays)})


def _snapshots(net: Any) -> dict[str, Snapshot]:
    """The earlier values that training may restore."""
    return {"best": net.steps_.best, "last_good": net.steps_.last_good}


def _on_the_way(net: Any) -> dict[str, np.ndarray]:
    """The state that a fit needs to continue, besides its values: moments and snapshots."""
    network = net.module_
    arrays = {
        f"moments/{kind}/{name}": value
        for name, state in net.steps_.moments(0).items()
        for kind, value in state.items()
    }
    for which, snapshot in _snapshots(net).items():
        if which == "best" and not net.settings.early_stopping:
            continue
        for name, copy in zip(network.learnt, snapshot.copies, strict=True):
            arrays[f"{which}/{name}"] = _array(copy)
    return arrays


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The state in ``folder``; empty if no fit has written yet."""
    if not is_there(folder / STATE):
        return {}, {}
    try:
        files = read_sealed(folder / STATE)
        fit, arrays = parse_json_object(files[FIT]), load(files[ARRAYS])
        version, _ = fit["format_version"], ({**fit["identity"]}, int(fit["seed"]))
    except (DamagedFileError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise DamagedFileError(
            f"checkpoint={str(folder)!r} is damaged; delete it to start the fit anew. {error}"
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"checkpoint={str(folder)!r} was written by another version of sklearn-lntune; end the "
            "fit with that one, or delete it to start anew."
        )
    return fit, arrays


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Descriptions of the differences between two signatures, with short values.

    Examples
    --------
    >>> differences({"lr": 0.1, "X": "sha256:a"}, {"lr": 0.2, "X": "sha256:b"})
    ['lr is 0.1 there and 0.2 here', 'X differs']
    """
    told = []
    for name in dict.fromkeys([*there, *here]):
        old, new = there.get(name), here.get(name)
        if old == new:
            continue
        short = all(DIGEST not in str(each) and len(str(each)) <= 40 for each in (old, new))
        told.append(f"{name} is {old!r} there and {new!r} here" if short else f"{name} differs")
    return told


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def _group(arrays: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    start = group + "/"
    return {key.removeprefix(start): own for key, own in arrays.items() if key.startswith(start)}


def _copy(
    arrays: Mapping[str, np.ndarray], group: str, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Set ``tensors`` to the arrays of ``group``, if it exists."""
    with torch.no_grad():
        for name, value in _group(arrays, group).items():
            tensors[name].copy_(torch.tensor(value))
