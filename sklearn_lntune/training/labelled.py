"""Checked rows with their targets, not yet tokenised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_lntune.text.check import Text


@dataclass(frozen=True)
class Labelled:
    """Texts with the number of their class and their weight.

    Attributes
    ----------
    texts : list of str or list of (str, str)
    codes : ndarray of int of shape (n_rows,)
    weights : ndarray of float of shape (n_rows,)
        Sample weight times class weight.
    """

    texts: list[Text]
    codes: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> Labelled:
        """Only ``rows``, in their order."""
        return Labelled([self.texts[i] for i in rows], self.codes[rows], self.weights[rows])
