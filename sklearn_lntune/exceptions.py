"""The package's exceptions; all other errors are a ValueError, TypeError or NotFittedError."""

import traceback
from typing import TypeVar

Error = TypeVar("Error", bound=BaseException)


def without_locals(error: Error) -> Error:
    """``error``, whose traceback no longer keeps the local variables of functions that ended.

    Whoever holds the error, as an interactive session does with the last one, would otherwise
    also hold the network and everything that its backward pass needs.
    """
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
    return error


class TrainingDivergedError(ValueError):
    """The training loss became NaN or infinite.

    The estimator has the last good delta, so it can predict; lower the learning rate and
    fit again.
    """


class BackboneMismatchError(ValueError):
    """The backbone or tokenizer found is not the one that the classifier was fitted with."""


class UnknownMethodError(ValueError):
    """The tuning method of a saved or pickled classifier is not registered in this process."""


class DamagedFileError(ValueError):
    """A saved file was changed or damaged, or is missing."""


class OtherProcessError(ValueError):
    """Another process of a fit with ``distributed=True`` has failed, so the fit ends in all."""
