"""The output: what is learnt from ``y`` and how a network's outputs become answers.

Nothing below or above this room knows what kind of target there is.
"""

from sklearn_lntune.task.base import Task
from sklearn_lntune.task.one_label import OneLabel

__all__ = ["OneLabel", "Task"]
