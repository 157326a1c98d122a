"""Load a fitted estimator from files."""

from __future__ import annotations

import os
from typing import Any

from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
from sklearn_lntune.estimators.regressor import LNTunedTransformerRegressor
from sklearn_lntune.estimators.tagger import LNTunedTransformerTagger

_ESTIMATORS: tuple[type[BaseTuned], ...] = (
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    LNTunedTransformerTagger,
)


def load(
    path: str | os.PathLike[str],
    *,
    backbone: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """Read an estimator written by `LNTunedTransformerClassifier.save` or `push_to_hub`.

    Every byte is compared with the digests written with it, and what the files say is
    checked before memory is taken for it. No code can run: the files hold numbers and
    text. Others may save to ``path`` meanwhile. The backbone is read at the first
    prediction.

    Parameters
    ----------
    path : str or path
        A folder, a ``.zip``, or ``"user/name"`` on the Hugging Face hub.
    backbone : str or path, optional
        Where the backbone is now, if not where it was when the classifier was saved. It
        must be the same model; this is checked at the first prediction. To use one that
        differs but computes the same, see `LNTunedTransformerClassifier.accept_backbone`.
    revision : str, optional
        Revision of the classifier's repository on the hub.
    token : str or bool, optional
        As in huggingface_hub.
    trust_remote_code : bool, default=False
        Value of this parameter for the loaded estimator, whatever the files say.

    Returns
    -------
    LNTunedTransformerClassifier or another estimator of this package
        Of the class that was saved: fitted, with the parameters it was saved with.

    Raises
    ------
    DamagedFileError
        If a file was changed or damaged, is missing, or does not belong there, or if what
        the files say is not possible.
    ValueError
        If there is no saved classifier, or a newer version wrote it.

    Examples
    --------
    >>> import sklearn_lntune
    >>> clf = sklearn_lntune.load("tickets.zip")  # doctest: +SKIP
    """
    from sklearn_lntune.persistence.document import read_document

    document, own_backbone = read_document(path, revision=revision, token=token)
    params = document.params | {"trust_remote_code": trust_remote_code}
    if backbone is not None or own_backbone is not None:
        params |= {"backbone": backbone or own_backbone, "revision": None}
    kind = document.state.target_kind
    made = next(each for each in _ESTIMATORS if kind in each._kinds)  # noqa: SLF001 - ours
    try:
        estimator = made(**params)
    except TypeError as error:
        raise ValueError(
            f"{path} has a parameter that this version of sklearn-lntune does not know ({error}); "
            "upgrade it."
        ) from error
    return estimator._set_state(document.state, document.columns)  # noqa: SLF001 - of this module
