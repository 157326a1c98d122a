"""The model card: a README for people and for the hub's search."""

from __future__ import annotations

import os

from sklearn_lntune.backbone.poolings import COMPARED
from sklearn_lntune.persistence.document import Document
from sklearn_lntune.persistence.names import is_local, last_part
from sklearn_lntune.persistence.state import FittedState

_TEXT = """# {title}

{what} on the frozen backbone {backbone}, trained with
[sklearn-lntune](https://pypi.org/project/sklearn-lntune/): {tuning} and a {head}.
These files hold what was learnt, {n_learnt:,} numbers; the backbone is {among} them.

- {targets}
- Backbone: {backbone}, revision {revision}, fingerprint `{fingerprint}`
- Trained beside the head: {n_tuned:,} numbers{share}
- Pooling: {pooling}; longest input: {max_length} tokens{windows}
- Training: {n_steps} steps in {n_epochs} epochs
- Data: {data}

## Metrics

{metrics}

## Use

```python
import sklearn_lntune

{variable} = sklearn_lntune.load({where!r})
{variable}.predict(["some text"])
```

No file in here can run code when it is loaded. Backbone and tokenizer are compared with the
fingerprints of the fit before the first prediction.
"""


def card(document: Document, where: str, with_backbone: bool = False) -> bytes:
    """The card of ``document``, as kept at ``where``."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    state = document.state
    task = state.task
    name = str(state.backbone["name"])
    local = is_local(name, state.backbone["revision"]) or "folder" in state.backbone
    shown = last_part(name) if local else name
    title = os.path.basename(os.path.normpath(where)).removesuffix(".zip")
    data = document.data or "not described"
    results = [
        EvalResult(
            task_type=task.pipeline_tag,
            dataset_type="custom",
            dataset_name=data,
            metric_type=metric,
            metric_value=value,
        )
        for metric, value in document.metrics.items()
    ]
    header = ModelCardData(
        library_name="sklearn-lntune",
        pipeline_tag=task.pipeline_tag,
        base_model=None if local else name,
        tags=["sklearn-lntune", "scikit-learn", task.pipeline_tag, "ln-tuning", "peft"],
        model_name=title if results else None,
        eval_results=results or None,
    )
    learnt = {key: value.size for key, value in state.delta.items()}
    n_tuned = sum(size for key, size in learnt.items() if not key.startswith("head/"))
    n_frozen = state.backbone.get("parameters")
    text = _TEXT.format(
        title=title,
        among="among" if with_backbone else "not among",
        **task.card(),
        backbone=shown,
        revision=state.backbone["revision"] or "not known",
        fingerprint=str(state.backbone["fingerprint"])[:16],
        tuning=" + ".join(str(entry["method"]) for entry in state.tuning) or "nothing else",
        n_learnt=sum(learnt.values()),
        n_tuned=n_tuned,
        share=f", {100 * n_tuned / n_frozen:.3g} % of the backbone's" if n_frozen else "",
        pooling=state.pooling,
        max_length=state.max_length,
        windows=_windows(state),
        n_steps=state.n_steps,
        n_epochs=state.n_epochs,
        data=data,
        metrics="\n".join(f"- {metric}: {value:.4g}" for metric, value in document.metrics.items())
        or "None were given.",
        where=where,
    )
    return str(ModelCard(f"---\n{header.to_yaml()}\n---\n\n{text}")).encode("utf-8", "replace")


def _windows(state: FittedState) -> str:
    """What is done with longer texts, if they are not truncated."""
    if state.stride is None:
        return ""
    if state.window_pooling == COMPARED:
        return " each; the texts of a pair are read one by one, and their vectors compared"
    shared = f"windows that share {state.stride} tokens"
    return f"; longer texts in {shared}, with window pooling: {state.window_pooling}"
