"""
Look inside
===========

Which words spoke for a prediction, how the fit went, what is trained, and how far it moved.
"""

# %%
# A classifier
# ------------
# A short fit, so that it runs at once.

import matplotlib.pyplot as plt

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets
from sklearn_lntune.inspection import (
    AttributionDisplay,
    DeltaDisplay,
    HistoryDisplay,
    ParameterDisplay,
    explain,
)

X_train, y_train = load_support_tickets(subset="train", return_X_y=True)
X_test, y_test = load_support_tickets(subset="test", return_X_y=True)
clf = LNTunedTransformerClassifier(max_epochs=3, min_steps=0, random_state=0)
clf.fit(X_train[:256], y_train[:256], X_val=X_test[:64], y_val=y_test[:64])

# %%
# The words that spoke for a class
# --------------------------------
# Integrated gradients: the attributions of a text add up to the difference between the logit
# of the text and that without its words. Blue words speak for the prediction, orange ones
# against it.

texts = ["I was charged twice, and I want my money back.", "Where is my parcel?? It is late."]
explain(clf, texts)

# %%
# The same as a table.

explain(clf, texts[:1]).to_frame()

# %%
# The largest words as bars. With several texts, these are means.

AttributionDisplay.from_estimator(clf, texts[:1])
plt.show()

# %%
# The course of the fit
# ---------------------

HistoryDisplay.from_estimator(clf)
plt.show()

# %%
# What is trained
# ---------------

ParameterDisplay.from_estimator(clf)
plt.show()

# %%
# How far it moved
# ----------------

# sphinx_gallery_thumbnail_number = 1
DeltaDisplay.from_estimator(clf)
plt.show()
