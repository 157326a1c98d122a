"""`HistoryDisplay`: the course of a fit, by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.inspection.plotting import COLOURS, axes_for, check_matplotlib

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.estimators.base import BaseTuned

#: Label of each panel, and the columns of the history that it shows, with their names.
_PANELS = {
    "loss": {"train_loss": "training", "valid_loss": "validation"},
    "validation score": {"valid_score": "validation"},
    "learning rate": {"lr": "all"},
}


class HistoryDisplay:
    """Loss, validation score and learning rate by epoch.

    Parameters
    ----------
    history : pandas.DataFrame
        As ``history_`` of a fitted estimator. What it does not contain is not drawn.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One per panel, from the top to the bottom.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that contains them.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> from sklearn_lntune.inspection import HistoryDisplay
    >>> X, y = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=2, min_steps=0, random_state=0)
    >>> display = HistoryDisplay.from_estimator(clf.fit(X[:64], y[:64]))
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, history: pd.DataFrame) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: BaseTuned, *, ax: Any = None) -> Self:
        """Plot the history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted.
        ax : matplotlib Axes or sequence of them, optional
            As for `plot`.

        Returns
        -------
        HistoryDisplay
            With the plot drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator, "log_")
        return cls(estimator.history_).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one panel each for loss, validation score and learning rate.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, optional
            One per panel, or one whose space the panels divide. By default, a new figure.

        Returns
        -------
        HistoryDisplay
            The display itself.
        """
        panels = {
            label: {column: name for column, name in columns.items() if column in self.history}
            for label, columns in _PANELS.items()
        }
        panels = {label: columns for label, columns in panels.items() if columns}
        if not panels:
            raise ValueError(
                "the history holds no epoch to draw; what is imported from elsewhere has none."
            )
        self.axes_ = self._divided(ax, len(panels))
        self.ax_ = self.axes_[0]
        self.figure_: Any = self.ax_.figure
        for each, (label, columns) in zip(self.axes_, panels.items(), strict=True):
            for colour, (column, name) in zip(COLOURS, columns.items(), strict=False):
                known = self.history[column].notna()
                each.plot(
                    self.history["epoch"][known],
                    self.history[column][known],
                    marker="o" if known.sum() < 20 else None,
                    color=colour,
                    label=name,
                )
            each.set_ylabel(label)
            if len(columns) > 1:
                each.legend()
        last = self.axes_[-1]
        last.set_xlabel("epoch")
        last.xaxis.get_major_locator().set_params(integer=True)
        return self

    def _divided(self, ax: Any, n_panels: int) -> list[Any]:
        """The axes of the panels."""
        if isinstance(ax, list | tuple) or hasattr(ax, "__len__"):
            if len(ax) != n_panels:
                raise ValueError(f"ax must hold {n_panels} axes, one per panel; got {len(ax)}.")
            return list(ax)
        whole = axes_for(self, ax)
        if n_panels == 1:
            return [whole]
        # The axes stay in the figure, unseen, as those of scikit-learn's displays do.
        whole.set_axis_off()
        place: Any = whole.get_subplotspec()
        if place is None:
            raise ValueError(
                "ax was not made by subplots, so its space cannot be divided; pass one of "
                f"plt.subplots(), or a list of {n_panels} axes."
            )
        grid = place.subgridspec(n_panels, 1)
        figure: Any = whole.figure
        axes = [figure.add_subplot(grid[0])]
        axes += [figure.add_subplot(grid[i], sharex=axes[0]) for i in range(1, n_panels)]
        for each in axes[:-1]:
            each.tick_params(labelbottom=False)
        return axes
