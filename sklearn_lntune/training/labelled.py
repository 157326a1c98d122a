"""Checked rows with their targets, not yet tokenised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_lntune.text.stream import Texts


@dataclass(frozen=True)
class Labelled:
    """Texts with the number of their class and their weight.

    Attributes
    ----------
    texts : list of str, list of (str, str), or TextTable
    codes : ndarray of int of shape (n_rows,)
    weights : ndarray of float of shape (n_rows,)
        Sample weight times class weight.
    """

    texts: Texts
    codes: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)
