"""How many parameters each tuning method trains, and where."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sklearn_lntune.backbone.poolings import WITH_POOLER
from sklearn_lntune.tuning.base import PeftRef
from sklearn_lntune.tuning.plan import plan
from sklearn_lntune.tuning.registry import from_plain, methods_of

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.backbone.anatomy import Anatomy
    from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier
    from sklearn_lntune.tuning.base import Array, TuningMethod

_COLUMNS = [
    "method",
    "site",
    "parameters",
    "share",
    "bytes",
    *PeftRef._fields,
    "left_to",
]
_BYTES = 4  # a delta is kept in float32


def parameter_report(clf: LNTunedTransformerClassifier, *, config: Any = None) -> pd.DataFrame:
    """Count the parameters that a classifier trains, by method and site.

    No weights are needed: before a fit, only the backbone's configuration is read. A parameter
    that two methods of a sum both claim is counted once, for the method that trains it.

    Parameters
    ----------
    clf : LNTunedTransformerClassifier
        Fitted or not.
    config : transformers configuration or path, optional
        Report on this architecture instead of ``clf.backbone``. A path may be a folder that
        contains ``config.json`` only.

    Returns
    -------
    pandas.DataFrame
        One row per method and site, then one for the head if ``clf`` is fitted, and one for
        the total. Columns:

        ``method``, ``site``
            Tuning method, and place in the block.
        ``parameters``
            Number of trained parameters.
        ``share``
            Percentage of the backbone's parameters.
        ``bytes``
            Size in a delta, in float32.
        ``workspace``, ``insertion``, ``integration``
            The method in the terms of PEFT-Ref.
        ``left_to``
            Other methods of the sum that train parameters which this one claims as well, and
            how many, for instance ``"layernorm: 4992"``.

    Raises
    ------
    ValueError, TypeError
        If the tuning is not valid or does not fit the backbone.

    References
    ----------
    M. Sabry, A. Belz (2023). PEFT-Ref: A Modular Reference Architecture and Typology for
    Parameter-Efficient Finetuning Techniques. arXiv:2304.12410.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.inspection import parameter_report
    >>> from transformers import BertConfig
    >>> large = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
    ...                    intermediate_size=4096)
    >>> report = parameter_report(LNTunedTransformerClassifier(), config=large)
    >>> report.set_index("site")["parameters"].to_dict()
    {'embedding': 2048, 'attention': 49152, 'ffn': 49152, 'all': 100352}
    """
    import pandas as pd

    fitted = config is None and hasattr(clf, "delta_")
    methods = from_plain(clf.tuning_) if fitted else methods_of(clf.tuning)
    anatomy = _anatomy(clf, config)
    pooling = clf.pooling_ if fitted else clf.pooling
    planned = plan(methods, anatomy, with_pooler=pooling in WITH_POOLER)
    rows: list[dict[str, Any]] = []
    for method, arrays in planned.items():
        for site in dict.fromkeys(array.site for array in arrays):
            rows.append(
                {
                    "method": method.name,
                    "site": site,
                    "parameters": sum(array.size for array in arrays if array.site == site),
                    **method.taxonomy()._asdict(),
                    "left_to": _left_to(method, site, planned, anatomy),
                }
            )
    if fitted:
        size = sum(value.size for name, value in clf.delta_.items() if name.startswith("head/"))
        rows.append({"method": "head", "site": "head", "parameters": size})
    total = sum(row["parameters"] for row in rows)
    rows.append({"method": "total", "site": "all", "parameters": total})
    report = pd.DataFrame(rows, columns=_COLUMNS)
    report["share"] = 100 * report["parameters"] / anatomy.n_parameters
    report["bytes"] = _BYTES * report["parameters"]
    return report.fillna("")


def _anatomy(clf: LNTunedTransformerClassifier, config: Any) -> Anatomy:
    """The anatomy of ``config`` or of the classifier's backbone, without weights."""
    from sklearn_lntune.backbone.inspect_model import anatomy_of
    from sklearn_lntune.backbone.loading import load_config, skeleton
    from sklearn_lntune.backbone.resolve import resolve

    if config is None or isinstance(config, str | os.PathLike):
        name, revision = (clf.backbone, clf.revision) if config is None else (config, None)
        config = load_config(resolve(name, revision, weights=False), clf.trust_remote_code)
    return anatomy_of(skeleton(config, clf.trust_remote_code))


def _left_to(
    method: TuningMethod,
    site: str,
    planned: dict[TuningMethod, tuple[Array, ...]],
    anatomy: Anatomy,
) -> str:
    """The methods that train parameters which ``method`` claims at ``site``, and how many."""
    own = {array.key for array in planned[method]}
    lost = {a.claim for a in method.arrays(anatomy) if a.site == site and a.key not in own}
    lost.discard(None)
    return ", ".join(
        f"{other.name}: {size}"
        for other, arrays in planned.items()
        if (size := sum(array.size for array in arrays if array.claim in lost))
    )
