"""What one request, and all waiting requests together, may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn_lntune.checks import check_number


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server; a request beyond one is refused with a message that says which.

    An *answer* is that of one classifier for one text.

    Parameters
    ----------
    max_body : int, default=1 MiB
        Bytes of the body of a request other than an upload.
    max_upload : int, default=16 MiB
        Bytes of an uploaded classifier.
    body_seconds : float, default=30
        Time in which the whole body of a request must arrive.
    max_texts : int, default=256
        Texts, or pairs, per request.
    max_characters : int, default=20000
        Characters of a text, or of both texts of a pair. Of these, a classifier reads its
        ``max_length`` tokens.
    max_answers : int, default=4096
        Answers per request.
    max_waiting : int, default=16384
        Answers that may wait to be computed. A request beyond it gets the status 429.
    max_jobs : int, default=16
        Explanations and changes of classifiers that may wait.
    batch_answers : int, default=64
        Answers that are computed together.
    batch_seconds : float, default=0.005
        Time that a request waits for others to be computed with it, while nothing else is
        computed.

    Examples
    --------
    >>> Limits(max_texts=32).max_texts
    32
    >>> Limits(batch_answers=0)
    Traceback (most recent call last):
    ...
    ValueError: batch_answers must be an int in [1, inf); got 0.
    """

    max_body: int = 2**20
    max_upload: int = 2**24
    body_seconds: float = 30.0
    max_texts: int = 256
    max_characters: int = 20_000
    max_answers: int = 4096
    max_waiting: int = 16_384
    max_jobs: int = 16
    batch_answers: int = 64
    batch_seconds: float = 0.005

    def __post_init__(self) -> None:
        for name, default in vars(type(self)).items():
            if name in self.__dataclass_fields__:
                integer = isinstance(default, int)
                low = 1 if integer else 0
                check_number(name, getattr(self, name), integer=integer, low=low)
        if self.max_answers > self.max_waiting:
            raise ValueError(
                f"max_answers={self.max_answers} exceeds max_waiting={self.max_waiting}: such a "
                "request would never be accepted."
            )
