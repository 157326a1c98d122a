"""
Several labels per text
=======================

One classifier that gives a message any number of topics, and what it is sure of.
"""

# %%
# Messages with several topics
# ----------------------------
# Each message here is two tickets one after the other, so it has one topic or two. The
# indicator has a column for each topic. Short fits, so that it runs at once.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets


def two_by_two(subset, n_rows):
    """Messages of two tickets each, and their topics."""
    X, y = load_support_tickets(subset=subset, return_X_y=True)
    short = [i for i, text in enumerate(X) if len(text) < 50]
    pairs = np.random.default_rng(0).choice(short, size=(n_rows, 2))
    return [f"{X[i]} {X[j]}" for i, j in pairs], [{y[i], y[j]} for i, j in pairs]


X_train, topics = two_by_two("train", 192)
X_test, topics_test = two_by_two("test", 60)
binarizer = MultiLabelBinarizer()
Y_train, Y_test = binarizer.fit_transform(topics), binarizer.transform(topics_test)

# %%
# One fit for all labels
# ----------------------
# ``class_weight="balanced"`` lets rare labels count as much as frequent ones.

clf = LNTunedTransformerClassifier(
    class_weight="balanced", batch_size=16, max_epochs=3, min_steps=0, random_state=0
).fit(X_train, Y_train)
predicted = clf.predict(X_test)
print("macro F1:", round(f1_score(Y_test, predicted, average="macro", zero_division=0), 2))
for text, labels in zip(X_test[:3], binarizer.inverse_transform(predicted), strict=False):
    print(labels, text[:60])

# %%
# How sure it is
# --------------
# A row is a message, a column a topic, and a circle a topic that the message has.

probabilities = clf.predict_proba(X_test[:12])
figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
image = axes.imshow(probabilities, vmin=0, vmax=1, cmap="Blues")
rows, columns = Y_test[:12].nonzero()
axes.scatter(columns, rows, s=80, facecolors="none", edgecolors="black")
axes.set_xticks(range(len(binarizer.classes_)), binarizer.classes_, rotation=60, ha="right")
axes.set_ylabel("message")
figure.colorbar(image, label="probability of the topic")
