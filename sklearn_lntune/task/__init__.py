"""Targets: how ``y`` is encoded, and how the outputs of a network become predictions.

No other package knows what kind of target there is.
"""

from sklearn_lntune.task.base import Classifying, Task
from sklearn_lntune.task.many_labels import ManyLabels
from sklearn_lntune.task.numbers import Numbers
from sklearn_lntune.task.one_label import OneLabel
from sklearn_lntune.task.token_tags import TokenTags

__all__ = ["Classifying", "ManyLabels", "Numbers", "OneLabel", "Task", "TokenTags"]
