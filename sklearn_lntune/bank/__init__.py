"""Many fitted classifiers over one backbone at prediction."""

from sklearn_lntune.bank.delta_bank import DeltaBank

__all__ = ["DeltaBank"]
