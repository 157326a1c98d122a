"""Errors of our own; everything else is a ValueError, TypeError or NotFittedError."""


class TrainingDivergedError(ValueError):
    """The training loss became NaN or infinite.

    The estimator keeps the last good delta, so it can predict; lower the learning rate
    and fit again.
    """


class BackboneMismatchError(ValueError):
    """The backbone or tokenizer found is not the one that the classifier was fitted on."""


class UnknownMethodError(ValueError):
    """A tuning method that was saved or fitted by its name is not registered here."""


class DamagedFileError(ValueError):
    """What was saved is not as it was written: a byte has changed, or a file is missing."""
