"""
Images: from digits that are known to digits that are new
=========================================================

A backbone with an image processor takes images. Here it is a small vision transformer that learns
to tell the digits 0 to 4 apart, is frozen, and is then tuned to 5, 6 and 7 from twenty images of
each. It stands for a vision transformer that was trained on photographs, which would be named by
its folder or by its name on the hub.
"""

# %%
# A frozen backbone
# -----------------
# Any folder that ``save_pretrained`` of a model and of its image processor wrote can be a backbone.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from sklearn_lntune import LNTunedTransformerClassifier

digits, labels = load_digits(return_X_y=True)
digits = digits.reshape(-1, 8, 8) / 16  # fractions from 0, black, to 1, white
known, new = labels < 5, (labels >= 5) & (labels < 8)

torch.manual_seed(0)
processor = ViTImageProcessorPil(size={"height": 8, "width": 8})
sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
config = ViTConfig(image_size=8, patch_size=2, intermediate_size=64, num_labels=5, **sizes)
model = ViTForImageClassification(config).train()
pixels = np.repeat((digits[known] * 2 - 1)[:, None], 3, axis=1)  # as the processor does
pixels = torch.from_numpy(pixels.astype(np.float32))
targets = torch.from_numpy(labels[known])
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(30):
    for rows in torch.randperm(len(targets)).split(64):
        optimizer.zero_grad()
        model(pixel_values=pixels[rows], labels=targets[rows]).loss.backward()
        optimizer.step()

folder = tempfile.mkdtemp()
model.save_pretrained(folder)
processor.save_pretrained(folder)

# %%
# Tuned to other digits
# ---------------------
# Arrays (n, height, width) are images; so are paths of files and PIL images.

X, X_test, y, y_test = train_test_split(
    digits[new], labels[new], train_size=60, random_state=0, stratify=labels[new]
)
scores = {}
for tuning in ("head", "layernorm", "layernorm+adapter"):
    clf = LNTunedTransformerClassifier(folder, tuning=tuning, random_state=0, min_steps=200)
    scores[tuning] = clf.fit(X, y).score(X_test, y_test)
print(clf.pooling_, "of", clf.max_length_, "patches:", scores)

# %%
# What it sees
# ------------
# Images that it had never seen, and what the last classifier calls them; mistakes are in red.

figure, axes = plt.subplots(2, 8, figsize=(8, 2.6), layout="constrained")
for axis, image, truth, found in zip(
    axes.flat, X_test, y_test, clf.predict(X_test[:16]), strict=False
):
    axis.imshow(image, cmap="gray")
    axis.set_title(found, color="black" if found == truth else "red")
    axis.axis("off")
figure.suptitle(f"tuned from 60 images: {scores['layernorm+adapter']:.0%} of the others are right")
plt.show()
