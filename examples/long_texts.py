"""
Texts longer than the model
===========================

What decides may stand anywhere in a long text. Truncation loses it; windows find it, and the learnt
attention shows where.
"""

# %%
# Messages in the middle of chatter
# ---------------------------------
# Two kinds of message, each somewhere among seven remarks that say nothing. The model reads 16
# tokens at once, far fewer than a text has. Short fits, so that it runs at once.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sklearn_lntune import LNTunedTransformerClassifier

warnings.filterwarnings("ignore", ".*were cut", UserWarning)
random = np.random.default_rng(0)
chatter = ["hello there,", "thanks a lot,", "nice weather today,", "see you soon,", "by the way,"]
messages = {
    "refund": ["i want my money back,", "please refund my order,", "i was charged twice,"],
    "login": ["my password is not accepted,", "i cannot log in,", "my account is locked,"],
}


def letter(label: str, place: int) -> str:
    """One telling sentence among remarks that say nothing."""
    remarks = [str(remark) for remark in random.choice(chatter, 7)]
    return " ".join([*remarks[:place], str(random.choice(messages[label])), *remarks[place:]])


def letters(n: int) -> tuple[list[str], list[str], list[int]]:
    """Texts, their labels, and where the telling sentence stands."""
    labels = [["refund", "login"][i % 2] for i in range(n)]
    places = random.integers(8, size=n).tolist()
    return [letter(*each) for each in zip(labels, places, strict=True)], labels, places


X_train, y_train, _ = letters(64)
X_test, y_test, places = letters(64)

# %%
# Three ways to read them
# -----------------------

ways = {
    "truncated": {},
    "windows, mean": {"long_texts": "windows", "stride": 4},
    "windows, attention": {"long_texts": "windows", "stride": 4, "window_pooling": "attention"},
}
right = {}
for name, windows in ways.items():
    clf = LNTunedTransformerClassifier(
        max_length=16, max_epochs=3, min_steps=0, batch_size=8, random_state=0, **windows
    ).fit(X_train, y_train)
    right[name] = clf.predict(X_test) == y_test
    print(f"{name:20} {right[name].mean():.2f}")

# %%
# Where truncation fails
# ----------------------
# The share of right answers, by where the message stands.

figure, axes = plt.subplots(layout="constrained")
for name, found in right.items():
    by_place = [found[np.array(places) == place].mean() for place in range(8)]
    axes.plot(range(8), by_place, marker="o", label=name)
axes.set(xlabel="remarks before the message", ylabel="right answers", ylim=(0, 1.05))
axes.legend()
plt.show()
