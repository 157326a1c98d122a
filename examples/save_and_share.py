"""
Save and share
==============

One fitted classifier in every form: a small file of our own, a pipeline, peft, plain
transformers.
"""

# %%
# A classifier
# ------------
# With ``pooling="native"`` the head is that of the model's own class, so that peft and
# transformers can hold it. A short fit, so that it runs at once.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from transformers import pipeline

import sklearn_lntune
from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets

X_train, y_train = load_support_tickets(subset="train", return_X_y=True)
X_test, y_test = load_support_tickets(subset="test", return_X_y=True)
X_test, y_test = X_test[:100], y_test[:100]
clf = LNTunedTransformerClassifier(
    pooling="native", random_state=0, max_epochs=1, min_steps=0, precision="float32"
)
clf.fit(X_train[:128], y_train[:128])
folder = Path(tempfile.mkdtemp())


def kilobytes(path: Path) -> float:
    """Size of a file or folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 1000


# %%
# Our own file: no pickle, every byte checked at loading
# ------------------------------------------------------

clf.save(folder / "tickets.zip", metrics={"accuracy": clf.score(X_test, y_test)})
loaded = sklearn_lntune.load(folder / "tickets.zip")
assert (loaded.predict(X_test) == clf.predict(X_test)).all()
print(f"zip: {kilobytes(folder / 'tickets.zip'):.0f} kB")

# %%
# An adapter for peft, and back
# -----------------------------

clf.export_peft(folder / "adapter")
again = LNTunedTransformerClassifier.from_peft(
    folder / "adapter", clf.classes_, precision="float32"
)
assert np.allclose(again.predict_proba(X_test), clf.predict_proba(X_test), atol=1e-6)
print(f"peft adapter: {kilobytes(folder / 'adapter'):.0f} kB")

# %%
# Plain transformers, without this package
# ----------------------------------------

clf.export_transformers(folder / "model")
classify = pipeline("text-classification", str(folder / "model"), device="cpu")
assert [each["label"] for each in classify(X_test[:20])] == list(clf.predict(X_test[:20]))
print(f"transformers folder: {kilobytes(folder / 'model') / 1000:.0f} MB")

# %%
# What each of them takes
# -----------------------

sizes = {name: kilobytes(folder / name) for name in ("tickets.zip", "adapter", "model")}
_, ax = plt.subplots(figsize=(6, 2), layout="constrained")
ax.bar_label(ax.barh(list(sizes), list(sizes.values())), fmt="{:,.0f} kB", padding=3)
ax.set(xscale="log", xlabel="kB", xlim=(1, 10 * max(sizes.values())))
ax.invert_yaxis()
plt.show()
