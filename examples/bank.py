"""
Many classifiers at once
========================

Three classifiers over one backbone: every task for each text, or each text its own task.
"""

# %%
# Three tasks on the same messages
# --------------------------------
# The topic is in the data; the other two are made up from the text. Short fits, so that it
# runs at once.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets

X_train, topics = load_support_tickets(subset="train", return_X_y=True)
X_test, _ = load_support_tickets(subset="test", return_X_y=True)
X_train, topics, X_test = list(X_train[:128]), list(topics[:128]), list(X_test[:60])
answers = {
    "topic": topics,
    "asks": ["question" if "?" in text else "statement" for text in X_train],
    "long": [len(text) > 80 for text in X_train],
}
classifiers = {
    name: LNTunedTransformerClassifier(
        max_epochs=1, min_steps=0, random_state=0, precision="float32"
    ).fit(X_train, y)
    for name, y in answers.items()
}

# %%
# Every task for each text
# ------------------------

bank = DeltaBank(classifiers)
print(bank.predict(X_test[:5]))

# %%
# Probabilities come as one array per task.

_, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained", width_ratios=[4, 1, 1])
for ax, (name, proba) in zip(axes, bank.predict_proba(X_test[:5]).items(), strict=True):
    ax.imshow(proba, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(bank.classes(name))), bank.classes(name), rotation=45, ha="right")
    ax.set(title=name, yticks=range(5), ylabel="text" if name == "topic" else None)
plt.show()

# %%
# Each text its own task, in one batch
# ------------------------------------

tasks = [list(answers)[i % 3] for i in range(len(X_test))]
mixed = bank.predict_proba(X_test, tasks=tasks)
for name, clf in classifiers.items():
    rows = [i for i, task in enumerate(tasks) if task == name]
    alone = clf.predict_proba([X_test[i] for i in rows])
    assert np.allclose([mixed[i] for i in rows], alone, atol=1e-5)
print(bank.predict(X_test[:6], tasks=tasks[:6]))

# %%
# From a folder, read when asked for
# ----------------------------------

folder = Path(tempfile.mkdtemp())
for name, clf in classifiers.items():
    clf.save(folder / f"{name}.zip")
bank = DeltaBank.from_folder(folder, max_memory=10_000_000)
bank.predict(X_test[:1], tasks=["topic"])
print(bank)
classifiers["long"].save(folder / "topic.zip")  # as if it had been trained anew
bank.reload("topic")
print(bank.classes("topic"))
