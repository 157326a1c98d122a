"""The embedded data set: short customer messages in eight classes."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

_FILE = "support_tickets.csv"
_DESCRIPTION = """\
Support tickets
---------------
Short messages to the support desks of invented shops and software makers, written for
sklearn-lntune. The label is what the customer mainly wants, not the words they use: account,
billing, bug, cancellation, delivery, feature_request, how_to or refund. The words of one
class are often decoys in another. Classes are balanced; the split into training and test rows
is fixed, and no message of the test set has a near-duplicate among the training rows.

The texts are part of the package and under its licence (BSD-3-Clause).
"""


def load_support_tickets(
    *, subset: str = "train", return_X_y: bool = False, as_frame: bool = False
) -> Any:
    """Load the embedded support tickets: customer messages in 8 classes.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Which part of the fixed split.
    return_X_y : bool, default=False
        Return ``(data, target)`` only.
    as_frame : bool, default=False
        Return pandas objects.

    Returns
    -------
    data : sklearn.utils.Bunch
        ``data`` (list of str, or Series), ``target`` (ndarray of str, or Series),
        ``target_names`` (list of str), ``frame`` (DataFrame with columns ``text`` and
        ``label``, or None), ``DESCR`` and ``filename``.
    (data, target) : tuple
        If ``return_X_y``.

    Raises
    ------
    ValueError
        If ``subset`` is not one of the three.

    Examples
    --------
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> tickets = load_support_tickets(subset="test")
    >>> tickets.target_names
    ['account', 'billing', 'bug', 'cancellation', 'delivery', 'feature_request', 'how_to',
     'refund']
    """
    if subset not in ("train", "test", "all"):
        raise ValueError(f"subset must be 'train', 'test' or 'all'; got {subset!r}.")
    file = files("sklearn_lntune.datasets") / _FILE
    with file.open("rb") as stream:
        rows = pd.read_csv(stream, keep_default_na=False, dtype=str)
    if subset != "all":
        rows = rows[rows["split"] == subset]
    frame = rows[["text", "label"]].reset_index(drop=True)
    data = frame["text"] if as_frame else frame["text"].tolist()
    target = frame["label"] if as_frame else frame["label"].to_numpy(dtype=str)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=sorted(frame["label"].unique()),
        frame=frame if as_frame else None,
        DESCR=_DESCRIPTION,
        filename=str(file),
    )
