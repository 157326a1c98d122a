"""The classifiers of the commands: made from options, or loaded from files."""

from __future__ import annotations

from typing import Any

from sklearn_lntune.cli.values import parse_settings
from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
from sklearn_lntune.estimators.loading import load
from sklearn_lntune.task import OneLabel
from sklearn_lntune.tuning.registry import methods_of


def new_classifier(
    *,
    backbone: str | None,
    tuning: str,
    settings: list[str] | None = None,
    trust_remote_code: bool = False,
    **params: Any,
) -> LNTunedTransformerClassifier:
    """An unfitted classifier.

    Raises
    ------
    ValueError
        If ``settings`` name a parameter that does not exist.
    """
    clf = LNTunedTransformerClassifier(tuning=tuning, trust_remote_code=trust_remote_code, **params)
    if backbone is not None:
        clf.set_params(backbone=backbone)
    return with_params(clf, parse_settings(settings))


def with_params(
    clf: LNTunedTransformerClassifier, params: dict[str, Any]
) -> LNTunedTransformerClassifier:
    """``clf`` with ``params``, whose names are checked, as is the tuning."""
    known = (
        clf.get_params()
        | LNTunedTransformerClassifier(tuning=params.get("tuning", clf.tuning)).get_params()
    )
    for name in params:
        if name not in known:
            raise ValueError(
                f"{name!r} is not a parameter of the classifier; there are: {', '.join(known)}"
            )
    clf.set_params(**params)
    methods_of(clf.tuning)
    return clf


def load_classifier(
    path: str,
    *,
    backbone: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """The classifier saved at ``path``.

    Raises
    ------
    ValueError
        If there is none, or it is an estimator with other answers than one label per row.
    """
    clf: Any = load(path, backbone=backbone, trust_remote_code=trust_remote_code)
    if clf.target_kind_ != OneLabel.kind:
        raise ValueError(
            f"{path} is a {type(clf).__name__} whose answers are not one label per row, which "
            "this command does not know; use sklearn_lntune.load in Python"
        )
    if device is not None:
        clf.set_params(device=device)
    return clf
