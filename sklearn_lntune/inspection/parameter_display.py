"""`ParameterDisplay`: what is trained, and in which place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from sklearn_lntune.inspection.parameters import parameter_report
from sklearn_lntune.inspection.plotting import COLOURS, axes_for, check_matplotlib

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.estimators.base import BaseTuned


class ParameterDisplay:
    """The number of trained parameters by place, with a colour for each tuning method.

    Parameters
    ----------
    report : pandas.DataFrame
        As returned by `parameter_report`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the bars.
    figure_ : matplotlib Figure
        The figure that contains them.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.inspection import ParameterDisplay
    >>> clf = LNTunedTransformerClassifier(tuning="layernorm+prefix")
    >>> display = ParameterDisplay.from_estimator(clf)
    """

    def __init__(self, report: pd.DataFrame) -> None:
        self.report = report

    @classmethod
    def from_estimator(cls, estimator: BaseTuned, *, config: Any = None, ax: Any = None) -> Self:
        """Plot the parameters that an estimator trains; it need not be fitted.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted or not.
        config : transformers configuration or path, optional
            As for `parameter_report`.
        ax : matplotlib Axes, optional
            Where to draw. By default, a new figure.

        Returns
        -------
        ParameterDisplay
            With the plot drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        return cls(parameter_report(estimator, config=config)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one bar per place in the block.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. By default, a new figure.

        Returns
        -------
        ParameterDisplay
            The display itself.
        """
        axes = axes_for(self, ax)
        total = self.report[self.report["method"] == "total"].iloc[0]
        parts = self.report[self.report["method"] != "total"]
        table = parts.pivot_table(
            index="site", columns="method", values="parameters", aggfunc="sum", sort=False
        ).fillna(0)
        left = 0 * table.iloc[:, 0]
        for number, method in enumerate(table):
            colour = COLOURS[number % len(COLOURS)]
            axes.barh(table.index, table[method], left=left, label=method, color=colour)
            left = left + table[method]
        axes.bar_label(axes.containers[-1], [f"{size:,.0f}" for size in left], padding=3)  # type: ignore[arg-type]
        axes.invert_yaxis()
        axes.set_xlim(0, 1.15 * left.max())  # room for the numbers
        axes.set_xlabel(
            f"trained parameters ({total['parameters']:,} in all, {total['share']:.3g} % of the "
            "backbone)"
        )
        axes.set_ylabel("place")
        if table.shape[1] > 1:
            axes.legend(title="method")
        return self
