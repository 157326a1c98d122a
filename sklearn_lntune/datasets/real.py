"""Real data sets by name: from a local folder, or from the Hugging Face hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pandas as pd

#: A folder used instead of the hub: one subfolder per data set, one CSV (or .csv.gz) per split.
FOLDER_VARIABLE = "SKLEARN_LNTUNE_DATA"

Texts: TypeAlias = list[str] | list[tuple[str, str]]


@dataclass(frozen=True)
class _OnHub:
    path: str
    text: tuple[str, ...]
    label: str = "label"
    config: str | None = None


_HUB = {
    "20newsgroups": _OnHub("SetFit/20_newsgroups", ("text",), "label_text"),
    "agnews": _OnHub("fancyzhx/ag_news", ("text",)),
    "banking77": _OnHub("mteb/banking77", ("text",), "label_text"),
    "cola": _OnHub("nyu-mll/glue", ("sentence",), config="cola"),
    "imdb": _OnHub("stanfordnlp/imdb", ("text",)),
    "mrpc": _OnHub("nyu-mll/glue", ("sentence1", "sentence2"), config="mrpc"),
    "rte": _OnHub("nyu-mll/glue", ("sentence1", "sentence2"), config="rte"),
    "sst2": _OnHub("nyu-mll/glue", ("sentence",), config="sst2"),
    "subj": _OnHub("SetFit/subj", ("text",)),
    "trec": _OnHub("SetFit/TREC-QC", ("text",), "label_coarse_original"),
    "tweeteval_emotion": _OnHub("cardiffnlp/tweet_eval", ("text",), config="emotion"),
}


def fetch_text_dataset(name: str, split: str = "train") -> tuple[Texts, list[str]]:
    """Fetch the texts and labels of a public data set.

    Parameters
    ----------
    name : str
        For instance ``"trec"``, ``"banking77"``, ``"mrpc"`` (sentence pairs) or ``"agnews"``.
    split : {"train", "validation", "test"}, default="train"
        Part of the data set.

    Returns
    -------
    X : list of str or list of (str, str)
        Texts or sentence pairs.
    y : list of str
        The label of each.

    Raises
    ------
    ValueError
        If the data set or split is neither in the folder that the environment variable
        ``SKLEARN_LNTUNE_DATA`` names nor known on the hub.

    Notes
    -----
    The folder is searched first, for ``<name>/<split>.csv`` or ``.csv.gz`` with columns
    ``text`` (or ``text_a`` and ``text_b``) and ``label``. Each data set has its own licence.

    Examples
    --------
    >>> from sklearn_lntune.datasets import fetch_text_dataset
    >>> X, y = fetch_text_dataset("trec")  # doctest: +SKIP
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    for ending in ("csv", "csv.gz") if folder else ():
        file = Path(str(folder), name, f"{split}.{ending}")
        if file.is_file():
            return _from_csv(file)
    if name in _HUB:
        return _from_hub(_HUB[name], split)
    raise ValueError(
        f"no data set {name!r} (split {split!r}): known on the hub are {sorted(_HUB)}; or point "
        f"the environment variable {FOLDER_VARIABLE} at a folder with {name}/{split}.csv."
    )


def _from_csv(file: Path) -> tuple[Texts, list[str]]:
    frame = pd.read_csv(file, keep_default_na=False, dtype=str)
    labels = frame["label"].tolist()
    if "text" in frame:
        return frame["text"].tolist(), labels
    return list(zip(frame["text_a"], frame["text_b"], strict=True)), labels


def _from_hub(entry: _OnHub, split: str) -> tuple[Texts, list[str]]:
    from datasets import load_dataset

    rows = load_dataset(entry.path, entry.config, split=split)
    kind = rows.features[entry.label]
    names = getattr(kind, "names", None)
    labels = [names[code] if names else str(code) for code in rows[entry.label]]
    columns = [rows[column] for column in entry.text]
    if len(columns) == 1:
        return list(columns[0]), labels
    return list(zip(columns[0], columns[1], strict=True)), labels
