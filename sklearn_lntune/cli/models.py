"""The estimators of the commands: made from options, or loaded from files."""

from __future__ import annotations

from typing import Any, TypeVar

from sklearn_lntune.cli.targets import ESTIMATORS, Target
from sklearn_lntune.cli.values import parse_settings
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.estimators.loading import load
from sklearn_lntune.tuning.registry import methods_of

Estimator = TypeVar("Estimator", bound=BaseTuned)


def new_estimator(
    target: Target,
    *,
    backbone: str | None,
    tuning: str,
    settings: list[str] | None = None,
    trust_remote_code: bool = False,
    **params: Any,
) -> BaseTuned:
    """An unfitted estimator that answers with ``target``.

    Raises
    ------
    ValueError
        If ``settings`` name a parameter that does not exist.
    """
    made = ESTIMATORS[target](tuning=tuning, trust_remote_code=trust_remote_code, **params)
    if backbone is not None:
        made.set_params(backbone=backbone)
    return with_params(made, parse_settings(settings))


def with_params(estimator: Estimator, params: dict[str, Any]) -> Estimator:
    """``estimator`` with ``params``, whose names are checked, as is the tuning."""
    fresh = type(estimator)(tuning=params.get("tuning", estimator.tuning))
    known = estimator.get_params() | fresh.get_params()
    for name in params:
        if name not in known:
            kind = type(estimator).__name__.removeprefix("LNTunedTransformer").lower()
            raise ValueError(
                f"{name!r} is not a parameter of the {kind}; there are: {', '.join(known)}"
            )
    estimator.set_params(**params)
    methods_of(estimator.tuning)
    return estimator


def load_classifier(
    path: str,
    *,
    backbone: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """The classifier, regressor or tagger saved at ``path``.

    Raises
    ------
    ValueError
        If there is none.
    """
    found: Any = load(path, backbone=backbone, trust_remote_code=trust_remote_code)
    if device is not None:
        found.set_params(device=device)
    return found
