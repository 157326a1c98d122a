"""The module of the classifier in version 0.1, which pickles and lists of trusted types name."""

from sklearn_lntune.estimators.base import DEFAULT_BACKBONE
from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
from sklearn_lntune.estimators.loading import load

__all__ = ["DEFAULT_BACKBONE", "LNTunedTransformerClassifier", "load"]
