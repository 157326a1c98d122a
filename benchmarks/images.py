"""Tune a small vision transformer to digits that it has never seen.

A vision transformer of ninety thousand weights learns to tell the digits 0 to 6 of scikit-learn's
``load_digits`` (8 x 8 pixels) apart, is frozen, and is saved as a folder. Then it is tuned to the
digits 7, 8 and 9, by each method, from few rows of each. Beside it: logistic regression on the
frozen vectors, and on the pixels.

It shows that every method trains on images, what it costs, and how the methods compare on a
backbone that is small and knows little; logistic regression on the pixels beats them all. It does
not show how they compare on the backbones that people use, trained on millions of photographs.

    python benchmarks/images.py [--rows 20] [--seeds 3]
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from harness import RESULTS, Records, lines, options, origin, rst, surroundings
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_lntune import LNTunedTransformerClassifier

SEEN = 7  # the digits 0 to 6
SIZES = {"image_size": 8, "patch_size": 2, "num_channels": 3, "hidden_size": 48}
SIZES |= {"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 192}
METHODS = ("head", "layernorm", "bias", "scale", "lora", "adapter", "prefix", "full")
FROZEN, PIXELS = "frozen vectors + logistic regression", "pixels + logistic regression"


def digits(*, seen: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images from 0 to 1, and which digit each is."""
    images, labels = load_digits(return_X_y=True)
    wanted = (labels < SEEN) == seen
    return images[wanted].reshape(-1, 8, 8) / 16, labels[wanted]


def make_backbone(folder: Path, n_epochs: int) -> float:
    """Train the backbone on the digits that are seen; return its accuracy on held-out rows."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8})
    model = ViTForImageClassification(ViTConfig(**SIZES, num_labels=SEEN)).train()
    images, labels = digits(seen=True)
    grey = [np.repeat((255 * image).astype(np.uint8)[..., None], 3, axis=2) for image in images]
    pixels = processor(grey, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    targets = torch.from_numpy(labels)
    train, test = train_test_split(np.arange(len(labels)), random_state=0, stratify=labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    n_steps = n_epochs * -(-len(train) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=n_steps)
    for _ in range(n_epochs):
        for rows in torch.from_numpy(train)[torch.randperm(len(train))].split(64):
            shift = torch.randint(-1, 2, (2,)).tolist()
            moved = pixels[rows].roll(shift, (2, 3))
            loss = model(pixel_values=moved, labels=targets[rows]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        found = model.eval()(pixel_values=pixels[test]).logits.argmax(1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return float((found == targets[test]).float().mean())


def measured(folder: Path, method: str, n_rows: int, seed: int) -> dict[str, Any]:
    """Accuracy on the digits never seen, from ``n_rows`` of each, and what it took."""
    X, y = digits(seen=False)
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=n_rows * len(set(y)), random_state=seed, stratify=y
    )
    clf = LNTunedTransformerClassifier(folder, random_state=seed, precision="float32")
    start = time.process_time()
    if method in (FROZEN, PIXELS):
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        flat = [rows.reshape(len(rows), -1) for rows in (X, X_test)]
        if method == FROZEN:
            # Tuning the head alone leaves the vectors as the backbone computes them.
            clf.set_params(tuning="head", max_epochs=1, min_steps=0).fit(X, y)
            flat = [clf.embed(rows) for rows in (X, X_test)]
        linear.fit(flat[0], y)
        return {"accuracy": linear.score(flat[1], y_test), "learnt": linear[-1].coef_.size}
    clf.set_params(tuning=method).fit(X, y)
    seconds = time.process_time() - start
    learnt = sum(value.size for value in clf.delta_.values())
    return {"accuracy": clf.score(X_test, y_test), "learnt": learnt, "seconds": round(seconds, 1)}


def figure() -> str:
    """Test accuracy by rows per digit, mean and spread over seeds, and learnt numbers."""
    records = lines(RESULTS / "images.jsonl")
    frame = pd.DataFrame([each for each in records if each["part"] == "fit"])
    backbone = next(each for each in records if each["part"] == "backbone")
    scores = 100 * frame.groupby(["method", "rows"], sort=False)["accuracy"].agg(["mean", "std"])
    text = scores["mean"].map("{:.1f}".format) + scores["std"].map(" ± {:.1f}".format)
    wide = text.unstack().add_suffix(" rows per digit")  # noqa: PD010 - not numbers
    wide["learnt numbers"] = frame.groupby("method")["learnt"].max().map("{:,}".format)
    seconds = frame.groupby("method")["seconds"].median()
    wide["seconds"] = seconds.map("{:.1f}".format).where(seconds.notna(), "")
    order = [name for name in (PIXELS, FROZEN, *METHODS) if name in wide.index]
    n_seeds = frame["seed"].nunique()
    n_test = len(digits(seen=False)[0]) - 3 * frame["rows"].max()
    return rst(wide.loc[order]) + (
        f"\nAccuracy in % on the {n_test} or more other images of 7, 8 and 9, mean and standard "
        f"deviation of {n_seeds} seeds; default settings. The backbone has "
        f"{backbone['parameters']:,} weights, and tells 0 to 6 apart with "
        f"{100 * backbone['accuracy']:.1f} %. Seconds are the median of a fit, of CPU "
        f"time on {backbone['threads']} thread {origin(backbone)}.\n"
    )


def main() -> None:
    given = options(__doc__, rows=((20,), (10,)), seeds=(3, 1), epochs=(40, 1))
    records = Records(given.out / "images.jsonl", {"sizes": SIZES, "epochs": given.epochs})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        # Made anew for each run: the seed is fixed, and a minute is cheaper than its files.
        accuracy = make_backbone(Path(folder), given.epochs)
        clf = LNTunedTransformerClassifier(folder, tuning="head", max_epochs=1, min_steps=0)
        parameters = clf.fit(*digits(seen=False)).backbone_["parameters"]
        about = {"accuracy": accuracy, "parameters": parameters, **surroundings()}
        records.once({"part": "backbone"}, lambda: about)
        for seed in range(given.seeds):
            for n_rows in given.rows:
                for method in (PIXELS, FROZEN, *METHODS):
                    key = {"part": "fit", "method": method, "rows": n_rows, "seed": seed}
                    records.once(key, lambda k=key: measured(Path(folder), *list(k.values())[1:]))


if __name__ == "__main__":
    main()
