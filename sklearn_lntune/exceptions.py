"""The package's exceptions; all other errors are a ValueError, TypeError or NotFittedError."""


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
