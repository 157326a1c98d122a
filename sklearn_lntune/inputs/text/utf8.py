"""Find what has no form in UTF-8: half of a UTF-16 pair in a text, or bytes in an Arrow table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any


def surrogate_row(texts: Sequence[Any]) -> int | None:
    r"""The first of ``texts`` that has no UTF-8 form, which every tokenizer needs.

    Parameters
    ----------
    texts : sequence of str or of (str, str)

    Returns
    -------
    int or None
        Its number; None if all are well.

    Examples
    --------
    >>> surrogate_row(["fine", "half a pair \ud83d"])
    1
    """
    is_paired = len(texts) > 0 and not isinstance(texts[0], str)
    try:
        for part in chain.from_iterable(texts) if is_paired else texts:
            if not part.isascii():  # known without a look at the characters
                part.encode()
    except UnicodeEncodeError:
        return next(row for row, text in enumerate(texts) if _broken_part(text) is not None)
    return None


def surrogate_error(where: str, text: str | tuple[str, str]) -> ValueError:
    """The error that tells of half a UTF-16 pair in ``text``."""
    part, at = _broken_part(text) or ("", 0)
    return ValueError(
        f"{where} holds half of a UTF-16 pair ({part[max(at - 20, 0) : at + 20]!r}), which is not "
        "a character. Mend such texts, for instance with "
        "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
    )


def _broken_part(text: str | tuple[str, str]) -> tuple[str, int] | None:
    """The text, or the one of a pair, that cannot be encoded, and from which character on."""
    for part in (text,) if isinstance(text, str) else text:
        try:
            part.encode()
        except UnicodeEncodeError as error:
            return part, error.start
    return None


def undecodable_row(column: Any) -> int | None:
    """The first row of an Arrow column whose bytes are not UTF-8, or None."""
    for row, cell in enumerate(column):
        try:
            cell.as_py()
        except UnicodeDecodeError:
            return row
    return None


def undecodable_error(where: str) -> ValueError:
    """The error that tells of bytes which are not UTF-8."""
    return ValueError(
        f"{where} holds bytes that are not text in UTF-8, such as half of a UTF-16 pair. Write "
        "the table anew from texts that are, for instance bytes.decode('utf-8', 'replace')."
    )
