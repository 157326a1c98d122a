"""The output: what is learnt from ``y`` and how logits become answers.

Nothing below or above this room knows that the answer is one label a row.
"""

from sklearn_lntune.task.one_label import OneLabel

__all__ = ["OneLabel"]
