"""Where progress is shown: standard error and output, if there is anybody to read them."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from tqdm.auto import tqdm

#: What writing raises where there is no file (None), where a pipe is broken, and where the file
#: is closed or its encoding lacks a character.
_UNWRITABLE = (AttributeError, OSError, ValueError)


def progress_bar(**options: Any) -> Any:
    """A bar of tqdm's; ``options`` are tqdm's own.

    It shows nothing where standard error is missing (a service, pythonw), closed or broken:
    whatever it accompanies goes on.
    """
    return tqdm(file=_StandardError(), dynamic_ncols=True, **options)


def print_line(line: str) -> None:
    """Print to standard output, if it can be written to."""
    with contextlib.suppress(*_UNWRITABLE):
        print(line, flush=True)


class _StandardError:
    """`sys.stderr` as it is at the moment; what cannot be written is dropped."""

    def write(self, text: str) -> int:
        with contextlib.suppress(*_UNWRITABLE):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(*_UNWRITABLE):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        # tqdm asks for the encoding, and for the number of the file to learn how wide it is.
        return getattr(sys.stderr, name)
