"""
Numbers from texts
==================

A regressor for one number or several per text, in the unit of the targets.
"""

# %%
# Two numbers of each message
# ---------------------------
# Made up from the text, so that everything here is in the package: the number of words, and
# how often it asks. Short fits, so that it runs at once.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_lntune import LNTunedTransformerRegressor
from sklearn_lntune.datasets import load_support_tickets

NAMES = ["words", "question marks per 100 characters"]


def numbers_of(texts):
    """Both numbers, a row for each text."""
    return np.array([[len(text.split()), 100 * text.count("?") / len(text)] for text in texts])


X_train, X_test = (
    [text for text in load_support_tickets(subset=subset).data if len(text) < 80][:n_rows]
    for subset, n_rows in (("train", 192), ("test", 60))
)
y_train, y_test = numbers_of(X_train), numbers_of(X_test)

# %%
# One fit for both
# ----------------
# The targets are standardised inside, so that both columns count alike.

reg = LNTunedTransformerRegressor(
    loss="huber", batch_size=16, max_epochs=3, min_steps=0, random_state=0
).fit(X_train, y_train)
print("R2:", round(reg.score(X_test, y_test), 2))
print("means and standard deviations:", reg.target_mean_.round(1), reg.target_scale_.round(1))

# %%
# Predicted and true
# ------------------

predicted = reg.predict(X_test)
figure, panels = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for axes, name, true, found in zip(panels, NAMES, y_test.T, predicted.T, strict=True):
    axes.scatter(true, found, s=12)
    axes.axline((0, 0), slope=1, color="gray", linewidth=1)
    axes.set(title=name, xlabel="true", ylabel="predicted")
