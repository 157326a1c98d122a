"""A bank behind a queue: what the routes ask for, without HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

from sklearn_lntune.bank import DeltaBank
from sklearn_lntune.estimators.loading import load
from sklearn_lntune.exceptions import BackboneMismatchError, DamagedFileError
from sklearn_lntune.serving.answers import KINDS, answer, unknown
from sklearn_lntune.serving.batching import Answers, Batcher, Row
from sklearn_lntune.serving.errors import RequestError
from sklearn_lntune.serving.explaining import explain
from sklearn_lntune.serving.limits import Limits
from sklearn_lntune.serving.metrics import Metrics

log = logging.getLogger("sklearn_lntune.serving")


class Service:
    """A bank, the queue before it, and the changes of its members.

    Parameters
    ----------
    bank : DeltaBank
    limits : Limits
    load_options : dict
        Arguments for `load` of uploaded classifiers.
    """

    def __init__(self, bank: DeltaBank, limits: Limits, load_options: dict[str, Any]) -> None:
        self.bank, self.limits, self._load_options = bank, limits, load_options
        self.metrics = Metrics(lambda: self.batcher.n_waiting, lambda: len(bank))
        self.batcher = Batcher(partial(answer, bank), limits, self.metrics.on_batch)
        self._leaving: set[str] = set()
        self._change = asyncio.Lock()

    def start(self) -> None:
        """Load the backbone of the first classifier, and accept requests."""
        for name in self.bank.names[:1]:
            try:
                self.bank.takes_pairs(name)
            except (ValueError, OSError):
                # Requests for it will be answered with an error; others can be served.
                log.exception("the classifier %r cannot be loaded", name)
        self.batcher.start()

    @property
    def names(self) -> list[str]:
        """Names of the classifiers that can be asked."""
        return [name for name in self.bank.names if name not in self._leaving]

    # These run in the event loop without a pause, so that a classifier cannot leave between
    # the check of its name and the entry into the queue.

    def ask(self, texts: Sequence[Any], tasks: Sequence[str]) -> Future[Answers]:
        """Answers of one task per text."""
        for task in set(tasks):
            self.check_known(task)
        return self._submit(list(zip(texts, tasks, strict=True)))

    def ask_all(self, texts: Sequence[Any]) -> Future[Answers]:
        """Answers of all tasks for each text."""
        if not (names := self.names):
            raise RequestError(404, "There are no tasks yet.")
        self._check_number(len(texts) * len(names))
        return self._submit([(text, name) for text in texts for name in names])

    def explain(self, text: Any, task: str, label: Any) -> Future[dict[str, Any]]:
        """Which words of a text spoke for an answer."""
        self.check_known(task)
        return self.batcher.run(partial(explain, self.bank, (text, task), label))

    def _submit(self, rows: Sequence[Row]) -> Future[Answers]:
        self._check_number(len(rows))
        return self.batcher.submit(rows)

    def _check_number(self, n_rows: int) -> None:
        if n_rows > self.limits.max_answers:
            raise RequestError(
                413,
                f"{n_rows} answers are too many; a request may ask for "
                f"{self.limits.max_answers} (texts times tasks).",
            )

    def check_known(self, name: str) -> None:
        """Raise a RequestError if there is no task ``name``."""
        if name not in self.bank or name in self._leaving:
            raise unknown(name)

    # -- changes, one after the other -------------------------------------------------

    async def put(self, name: str, file: Path) -> bool:
        """Add the classifier saved in ``file``, or replace the one called ``name``.

        Returns
        -------
        bool
            Whether it replaced one.
        """
        async with self._change:
            # Alone in a bank it is checked, and its backbone loaded, while others are served.
            clf, takes_pairs = await asyncio.to_thread(self._try, file)
            job = self.batcher.run(partial(self._put, name, clf, takes_pairs))
            return bool(await asyncio.wrap_future(job))

    def _try(self, file: Path) -> tuple[Any, bool]:
        try:
            clf = load(file, **self._load_options)
            return clf, DeltaBank({"uploaded": clf}).takes_pairs("uploaded")
        except DamagedFileError as error:
            message = "This is not an intact .zip as a classifier's save() writes it."
            raise RequestError(422, message) from error
        except BackboneMismatchError as error:
            log.warning("an upload was refused", exc_info=error)
            message = "This classifier was fitted on a backbone that the server does not have."
            raise RequestError(422, message) from error
        except (ValueError, TypeError, OSError) as error:
            log.warning("an upload was refused", exc_info=error)
            message = "This classifier cannot be used here; the server's log says why."
            raise RequestError(422, message) from error

    def _put(self, name: str, clf: Any, takes_pairs: bool) -> bool:
        if name not in self.bank:
            self.bank.add(name, clf)
            return False
        before = self.bank.takes_pairs(name)
        if before != takes_pairs:  # requests that wait would fail
            raise RequestError(
                409,
                f"The task {name!r} takes {KINDS[before]}; delete it first, or take a new name.",
            )
        self.bank.replace(name, clf)
        return True

    async def remove(self, name: str) -> None:
        """Remove a classifier, after all requests that were accepted before."""
        async with self._change:
            self.check_known(name)
            self._leaving.add(name)
            try:
                await asyncio.to_thread(wait, self.batcher.unfinished())
                await asyncio.wrap_future(self.batcher.run(partial(self.bank.remove, name)))
            finally:
                self._leaving.discard(name)
