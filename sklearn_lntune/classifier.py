"""Where the classifier was in version 0.1: pickles and lists of trusted types name it."""

from sklearn_lntune.estimators.base import DEFAULT_BACKBONE
from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
from sklearn_lntune.estimators.loading import load

__all__ = ["DEFAULT_BACKBONE", "LNTunedTransformerClassifier", "load"]
