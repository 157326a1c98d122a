"""
Names in sentences
==================

A tag for each word: train a tagger on a few sentences, look at its probabilities, and see that a
long text needs no cutting.
"""

# %%
# Sentences and tags
# ------------------
# Made up from patterns, so that the example needs no data. ``B-`` begins a name, ``I-`` continues
# it.

import random

import matplotlib.pyplot as plt

from sklearn_lntune import LNTunedTransformerTagger

PEOPLE = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Emmy Noether", "Maria", "Kofi", "Yuki"]
PLACES = ["Paris", "New York", "Nairobi", "Kyoto", "the Alps", "Lima", "Oslo"]
PATTERNS = ["{p} flew to {l} yesterday", "in {l} nobody knew {p}", "{p} met {p} near {l}",
            "the train to {l} was late", "did {p} call ?", "we walked all day"]  # fmt: skip
draw = random.Random(0)


def sentence(pattern):
    """Words and tags made from ``pattern``."""
    words, tags = [], []
    for part in pattern.split():
        kind = {"{p}": "person", "{l}": "place"}.get(part)
        names = {"person": PEOPLE, "place": PLACES}.get(kind)
        name = draw.choice(names).split() if names else [part]
        words += name
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(name))]
    return words, tags


rows = [sentence(draw.choice(PATTERNS)) for _ in range(160)]
X, y = map(list, zip(*rows, strict=True))
print(X[0], y[0])

# %%
# Train, and score whole names
# ----------------------------
# ``score`` is the F1 score of entities: a name is right if its kind, its first and its last word
# are.

tagger = LNTunedTransformerTagger(max_epochs=4, min_steps=0, lr=1e-2, random_state=0)
tagger.fit(X[:128], y[:128])
score = tagger.score(X[128:], y[128:])
print(f"F1 of entities: {score:.2f}")
print("learnt numbers:", sum(values.size for values in tagger.delta_.values()))

# %%
# The probability of each tag for each word
# -----------------------------------------

words = ["Yuki", "Hopper", "and", "Emmy", "left", "Kyoto", "for", "the", "Alps"]
(probabilities,) = tagger.predict_proba([words])

figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
image = axes.imshow(probabilities.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
axes.set_xticks(range(len(words)), words)
axes.set_yticks(range(len(tagger.classes_)), tagger.classes_)
axes.set_title("probability of each tag")
figure.colorbar(image)

# %%
# A text longer than the model
# ----------------------------
# It is cut into windows, and each word is tagged in the window where it has most context.

long = [word for words in X * 3 for word in words]
(tags,) = tagger.predict([long])
print(f"{len(long)} words, {len(tags)} tags; the model reads {tagger.max_length_} tokens at a time")
assert len(tags) == len(long)
