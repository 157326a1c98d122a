"""`DeltaDisplay`: how far gains and biases have moved from those of the backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_lntune.backbone.where import BackboneRef, Where
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.inspection.plotting import COLOURS, axes_for, check_matplotlib
from sklearn_lntune.tuning.registry import from_plain

if TYPE_CHECKING:
    import pandas as pd

_BELOW = -1  # where places below the blocks are drawn


class DeltaDisplay:
    """How far each learnt vector has moved, by block and by place in the block.

    The distance is the root of the mean square of the change of a vector, so that vectors of
    different lengths compare. Gains of a norm are about 1 in most backbones.

    Parameters
    ----------
    moves : pandas.DataFrame
        One row per vector, as the attribute ``moves`` of a display that `from_estimator` made.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the lines.
    figure_ : matplotlib Figure
        The figure that contains them.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> from sklearn_lntune.inspection import DeltaDisplay
    >>> X, y = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    >>> display = DeltaDisplay.from_estimator(clf.fit(X[:64], y[:64]))
    >>> display.moves.columns.tolist()
    ['method', 'path', 'site', 'block', 'term', 'distance']
    """

    def __init__(self, moves: pd.DataFrame) -> None:
        self.moves = moves

    @classmethod
    def from_estimator(cls, estimator: BaseTuned, *, ax: Any = None) -> Self:
        """Compare a fitted estimator with its backbone, and plot the distances.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted. Its backbone is loaded.
        ax : matplotlib Axes, optional
            Where to draw. By default, a new figure.

        Returns
        -------
        DeltaDisplay
            With the plot drawn.

        Raises
        ------
        ValueError
            If the tuning learns no vectors.
        BackboneMismatchError
            If the backbone found is not that of the fit.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        return cls(_moves(estimator)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one line for each kind of vector, from the lowest block to the top.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. By default, a new figure.

        Returns
        -------
        DeltaDisplay
            The display itself.
        """
        axes = axes_for(self, ax)
        sites = list(dict.fromkeys(self.moves["site"]))
        terms = list(dict.fromkeys(self.moves["term"]))
        for (site, term), moves in self.moves.groupby(["site", "term"], sort=False):
            line = moves.groupby("block")["distance"].mean()
            axes.plot(
                line.index,
                line,
                color=COLOURS[sites.index(site) % len(COLOURS)],
                linestyle=("-", "--", ":", "-.")[terms.index(term) % 4],
                marker="os^D"[terms.index(term) % 4],
                label=f"{site}, {term}",
            )
        blocks = sorted({int(block) for block in self.moves["block"]})
        shown = blocks[:: max(1, len(blocks) // 12)]
        axes.set_xticks(shown, ["below" if block == _BELOW else str(block) for block in shown])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("block")
        axes.set_ylabel("distance from the backbone")
        axes.legend()
        return self


def _moves(estimator: BaseTuned) -> pd.DataFrame:
    """The distance of each learnt vector from where training starts."""
    import pandas as pd

    state = estimator._state()  # noqa: SLF001 - within the package
    params = estimator.get_params(deep=False)
    import torch

    from sklearn_lntune.network import build_network
    from sklearn_lntune.prediction.predictor import located

    backbone, placement = located(state, BackboneRef.from_params(params), Where.from_params(params))
    network = build_network(
        backbone,
        tuple(method.for_inference() for method in from_plain(state.tuning)),
        state.pooling,
        state.task.n_outputs,
        # In float32 at least: in less, small changes of a gain would be lost.
        dtype=torch.promote_types(placement.predict_type, torch.float32),
        device=placement.device,
        attention="eager",
        generator=torch.Generator().manual_seed(0),
    )
    start = network.delta()
    rows = []
    for method, arrays in network.planned.items():
        for array in arrays:
            name = f"{method.name}/{array.key}"
            # Matrices may start from random values, which are not stored.
            if len(array.shape) != 1:
                continue
            change = state.delta[name].astype(float) - start[name]
            rows.append(
                {
                    "method": method.name,
                    "path": array.path,
                    "site": array.site,
                    "block": _BELOW if array.block is None else array.block,
                    "term": array.name,
                    "distance": float(np.sqrt(np.mean(change**2))),
                }
            )
    if not rows:
        names = " + ".join(method.name for method in network.planned) or "the head alone"
        raise ValueError(
            f"the tuning of this estimator ({names}) learns no gains, biases or other vectors, so "
            "there is nothing to show."
        )
    return pd.DataFrame(rows)
