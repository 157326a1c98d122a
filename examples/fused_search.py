"""
Many fits as one
================

A grid search whose fits train side by side over one frozen backbone, and the same search
one by one: the same scores, in less time.
"""

# %%
# The search
# ----------
# Three candidates in three folds are nine fits. Nothing but the context changes.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split

from sklearn_lntune import LNTunedTransformerClassifier, fused_fits
from sklearn_lntune.datasets import load_support_tickets

X, y = load_support_tickets(subset="train", return_X_y=True)
X, _, y, _ = train_test_split(X, y, train_size=40, stratify=y, random_state=0)
clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, batch_size=8, random_state=0)
clf.fit(X[:16], y[:16])  # loads the backbone, so that the clock below does not see it

search = GridSearchCV(clf, {"lr": [1e-3, 2e-3, 5e-3]}, cv=3, refit=False)
seconds, scores = {}, {}
for way in ("one by one", "fused"):
    start = time.perf_counter()
    if way == "fused":
        with fused_fits(verbose=1):
            search.fit(X, y)
    else:
        search.fit(X, y)
    seconds[way] = time.perf_counter() - start
    scores[way] = search.cv_results_["mean_test_score"]
    print(f"{way:<10} {seconds[way]:5.1f} s, accuracies {np.round(scores[way], 3)}")

_, ax = plt.subplots(figsize=(6, 2), layout="constrained")
ax.bar_label(ax.barh(list(seconds), list(seconds.values())), fmt="%.1f s", padding=3)
ax.set(xlabel="seconds for nine fits")
ax.margins(x=0.15)
plt.show()

# %%
# Nested calls fuse too
# ---------------------
# The three members of a vote, in each of three folds, are nine fits side by side.

vote = VotingClassifier(
    [(f"seed {seed}", clone(clf).set_params(random_state=seed)) for seed in range(3)],
    voting="soft",
)
with fused_fits():
    accuracy = cross_val_score(vote, X, y, cv=3)
print(f"a vote of three: {accuracy.mean():.3f}")
