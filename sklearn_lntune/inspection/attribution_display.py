"""`AttributionDisplay`: the words that spoke most for predictions, and against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from sklearn_lntune.checks import check_number
from sklearn_lntune.inspection.explaining import explain
from sklearn_lntune.inspection.plotting import COLOURS, axes_for, check_matplotlib

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.estimators.base import BaseTuned
    from sklearn_lntune.inspection.explanations import Explanations

_FOR, _AGAINST = COLOURS[0], COLOURS[1]


class AttributionDisplay:
    """The words with the largest attributions, as bars.

    Parameters
    ----------
    explanations : Explanations
        As returned by `explain`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the bars.
    figure_ : matplotlib Figure
        The figure that contains them.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> from sklearn_lntune.inspection import AttributionDisplay
    >>> X, y = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    >>> clf = clf.fit(X[:64], y[:64])
    >>> display = AttributionDisplay.from_estimator(clf, ["i want my money back"])
    """

    def __init__(self, explanations: Explanations) -> None:
        self.explanations = explanations

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseTuned,
        X: Any,
        target: Any = None,
        *,
        n_words: int = 15,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Explain ``X`` and plot the words that mattered most.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted.
        X : array-like of str
            Texts or sentence pairs: one row, or several whose words are averaged.
        target : label or int, optional
            What to explain; by default, the most likely label of each row.
        n_words : int, default=15
            Number of words to show.
        ax : matplotlib Axes, optional
            Where to draw. By default, a new figure.
        **options : dict
            Further parameters of `explain`.

        Returns
        -------
        AttributionDisplay
            With the plot drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        return cls(explain(estimator, X, target, **options)).plot(ax, n_words=n_words)

    def plot(self, ax: Any = None, *, n_words: int = 15) -> Self:
        """Draw one bar per word, the largest first.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. By default, a new figure.
        n_words : int, default=15
            Number of words to show.

        Returns
        -------
        AttributionDisplay
            The display itself.
        """
        check_number("n_words", n_words, integer=True, low=1)
        axes = axes_for(self, ax)
        shown = self.totals().head(n_words)
        # By number, since a category axis joins words that look like the same number.
        bars = range(len(shown))
        axes.barh(bars, shown, color=[_FOR if value > 0 else _AGAINST for value in shown])
        # A dollar sign would start a formula.
        axes.set_yticks(bars, [word.replace("$", r"\$") for word in shown.index])
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.8)
        targets = {each.target for each in self.explanations}
        target = targets.pop() if len(targets) == 1 else None
        what = "the predicted label" if target is None else str(target).replace("$", r"\$")
        mean = f", mean of {len(self.explanations)} texts" if len(self.explanations) > 1 else ""
        axes.set_xlabel(f"how much the word spoke for {what}{mean}")
        return self

    def totals(self) -> pd.Series:
        """Sum up the attributions of each distinct word, divided by the number of rows.

        Returns
        -------
        pandas.Series
            By word, the largest absolute value first.
        """
        frame = self.explanations.to_frame()
        totals = frame.groupby("word", sort=False)["attribution"].sum() / len(self.explanations)
        return totals.sort_values(key=abs, ascending=False, kind="stable")
