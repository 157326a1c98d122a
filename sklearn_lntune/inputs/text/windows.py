"""Cut long texts into windows that overlap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

#: What can be done with a text that is longer than ``max_length``.
LONG_TEXTS = ("truncate", "windows")
#: How the two texts of a pair are read: as one row of tokens, or each by itself.
PAIRS = ("auto", "joined", "separate")


def window_spans(n_tokens: int, size: int, stride: int) -> list[tuple[int, int]]:
    """The windows of a text of ``n_tokens``, first to last.

    A window begins ``stride`` tokens before the end of the one before it. Only the last one may
    be shorter than ``size``, and it always has a token that no other window has. The special
    tokens of the model, which each window gets besides, do not count.

    Parameters
    ----------
    n_tokens : int
    size : int
        Tokens of a window.
    stride : int
        Tokens that two neighbours share; less than ``size``. transformers uses the word in this
        sense.

    Returns
    -------
    list of (int, int)
        Start and end of each window; a text without tokens is one window without any.

    Examples
    --------
    >>> window_spans(10, 4, 1)
    [(0, 4), (3, 7), (6, 10)]
    >>> window_spans(3, 4, 1)
    [(0, 3)]
    """
    if not 0 <= stride < size:
        raise ValueError(f"stride must be at least 0 and less than {size}; got {stride}.")
    starts = range(0, max(n_tokens - stride, 1), size - stride)
    return [(start, min(start + size, n_tokens)) for start in starts]


def middles(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The part of each window that is nearest to its middle; the parts do not overlap.

    A token in two windows belongs to the one in which it has more context on both sides.

    Parameters
    ----------
    spans : sequence of (int, int)
        As `window_spans` returns them.

    Examples
    --------
    >>> middles([(0, 4), (2, 6), (4, 7)])
    [(0, 3), (3, 5), (5, 7)]
    """
    cuts = [(start + end) // 2 for (_, end), (start, _) in itertools.pairwise(spans)]
    return list(itertools.pairwise([0, *cuts, spans[-1][1]]))
