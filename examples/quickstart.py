"""
Quickstart: support tickets
===========================

Train on the embedded support tickets, compare with two simple baselines, search a small
grid inside a pipeline, save the result in kilobytes and load it in a fresh process.
"""

# %%
# The data
# --------
# Short customer messages in eight classes. The words of one class are decoys in another, so
# counting words does not get far.

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets

X_train, y_train = load_support_tickets(subset="train", return_X_y=True)
X_test, y_test = load_support_tickets(subset="test", return_X_y=True)
print(f"{len(X_train)} training and {len(X_test)} test messages, for instance:")
for text, label in list(zip(X_train, y_train, strict=True))[:3]:
    print(f"  {label:<16} {text[:80]}")

# %%
# Two baselines
# -------------
# TF-IDF with logistic regression, and the frozen backbone's embeddings with logistic
# regression. The embeddings come from a classifier that has seen the data for no step worth
# the name: its gains and biases are still those of the backbone.

tfidf = make_pipeline(
    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
).fit(X_train, y_train)

untouched = LNTunedTransformerClassifier(
    tuning="head", max_epochs=1, min_steps=0, random_state=0
).fit(X_train, y_train)
frozen = make_pipeline(Normalizer(), LogisticRegression(C=10, max_iter=2000))
frozen.fit(untouched.embed(X_train), y_train)

# %%
# LayerNorm tuning
# ----------------
# Nothing but gains, biases and the head is trained.

start = time.perf_counter()
clf = LNTunedTransformerClassifier(random_state=0, verbose=1).fit(X_train, y_train)
seconds = time.perf_counter() - start
n_learnt = sum(values.size for name, values in clf.delta_.items() if name.startswith("layernorm"))
print(f"{n_learnt:,} gains and biases learnt in {seconds:.0f} s")

accuracy = {
    "TF-IDF + logistic regression": tfidf.score(X_test, y_test),
    "frozen embeddings + logistic regression": frozen.score(untouched.embed(X_test), y_test),
    "LayerNorm tuning": clf.score(X_test, y_test),
}
print("\ntest accuracy")
for name, value in accuracy.items():
    print(f"  {name:<40} {100 * value:.1f} %")

if find_spec("matplotlib"):  # not part of the demo
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
    ax.bar_label(ax.barh(list(accuracy), [100 * value for value in accuracy.values()]), fmt="%.1f")
    ax.set(xlabel="test accuracy, %", xlim=(0, 100))
    ax.invert_yaxis()

# %%
# A grid search in a pipeline
# ---------------------------
# All candidates share one backbone. Nested parameters go by the tuning method's name.


def strip(texts):
    """Remove blanks around each text."""
    return [text.strip() for text in texts]


pipe = Pipeline(
    [
        ("clean", FunctionTransformer(strip)),
        ("clf", LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)),
    ]
)
grid = {"clf__lr": [2e-3, 5e-3], "clf__tuning__layernorm__terms": ["both", "bias"]}
search = GridSearchCV(pipe, grid, cv=2, verbose=3).fit(X_train[:64], y_train[:64])
print(f"best of the grid: {search.best_params_}")

# %%
# Kilobytes on disk
# -----------------
# What is saved is the delta, not the backbone. A fresh process loads it and predicts the same.

folder = Path(tempfile.mkdtemp())
joblib.dump(clf, folder / "tickets.joblib")
np.save(folder / "expected.npy", clf.predict_proba(X_test))
size = (folder / "tickets.joblib").stat().st_size
print(f"saved: {size / 1000:.0f} kB")

program = """
import sys, joblib, numpy as np
from pathlib import Path
from sklearn_lntune.datasets import load_support_tickets
folder = Path(sys.argv[1])
X_test, y_test = load_support_tickets(subset="test", return_X_y=True)
clf = joblib.load(folder / "tickets.joblib")
proba = clf.predict_proba(X_test)
equal = np.array_equal(proba, np.load(folder / "expected.npy"))
accuracy = np.mean(clf.classes_[proba.argmax(axis=1)] == y_test)
print("in a fresh process: equal predictions", equal, "- test accuracy", accuracy)
sys.exit(not equal)
"""
subprocess.run([sys.executable, "-c", program, str(folder)], check=True)

# %%
# What next
# ---------
# The command does the same with files, without Python. The guide shows the rest.

command = Path(sys.executable).with_name("sklearn-lntune")
print(f"""
Next, with your own rows in CSV, TSV, JSONL or Parquet (pip install "sklearn-lntune[cli]"):
  {command} train tickets.csv --text message --label queue -o tickets.zip
  {command} predict tickets.zip new.csv --text message --add-columns -o answered.csv
  {command} compare tickets.csv --text message --label queue --plot compare.png
  {command} --help
To see which words spoke for an answer, and what a fit has moved:
  examples/look_inside.py
To serve all classifiers of a folder over HTTP (pip install "sklearn-lntune[serve]"):
  {command} serve folder
With MLflow, Optuna, cleanlab, MAPIE, Spark and others: docs/guide/integrations.rst
How far to trust an answer: docs/trust.rst""")
