"""Progress bars and printed lines that never fail, even without a console."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from tqdm.auto import tqdm

#: Errors of writing to a missing stream (None), to a broken pipe, and to a stream that is closed
#: or whose encoding lacks a character.
_UNWRITABLE = (AttributeError, OSError, ValueError)


def progress_bar(**options: Any) -> Any:
    """A tqdm progress bar with the given ``options``.

    It shows nothing if standard error is missing (in a service, with pythonw), closed or
    broken, so that the work whose progress it shows continues.
    """
    return tqdm(file=_StandardError(), dynamic_ncols=True, **options)


def print_line(line: str) -> None:
    """Print to standard output, if it can be written to."""
    with contextlib.suppress(*_UNWRITABLE):
        print(line, flush=True)


class _StandardError:
    """The current `sys.stderr`; output that cannot be written is dropped."""

    def write(self, text: str) -> int:
        with contextlib.suppress(*_UNWRITABLE):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(*_UNWRITABLE):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        # tqdm reads the encoding, and the file descriptor to find out the width.
        return getattr(sys.stderr, name)
