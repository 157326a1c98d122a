"""From what a user passes as ``tuning`` to methods, and their nested parameters."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from sklearn_lntune.tuning.adapter import AdapterTuning
from sklearn_lntune.tuning.base import TuningMethod, TuningSum, check_methods
from sklearn_lntune.tuning.bias import BiasTuning
from sklearn_lntune.tuning.full import FullTuning
from sklearn_lntune.tuning.layernorm import LayerNormTuning
from sklearn_lntune.tuning.lora import LoraTuning
from sklearn_lntune.tuning.prefix import PrefixTuning

#: By name, in the order of attaching: what changes a layer's output comes before what
#: reads it, so that a sum means the same however it is written.
METHODS: dict[str, type[TuningMethod]] = {
    method.name: method
    for method in (
        LayerNormTuning,
        BiasTuning,
        LoraTuning,
        PrefixTuning,
        AdapterTuning,
        FullTuning,
    )
}
HEAD = "head"

_ATTENTION_ADAPTER = AdapterTuning(16, sites="attention")
#: Named sums, from the paper and its neighbours.
PRESETS: dict[str, tuple[TuningMethod, ...]] = {
    "ln-tuning": (LayerNormTuning(),),
    "prefix-ln": (LayerNormTuning(), PrefixTuning()),
    "adapter-mha-ln": (LayerNormTuning(), _ATTENTION_ADAPTER),
    "prefix-adapter-mha-ln": (LayerNormTuning(), PrefixTuning(), _ATTENTION_ADAPTER),
    "adapter-ffn-ln": (LayerNormTuning(), AdapterTuning(16, sites="ffn")),
    "houlsby": (LayerNormTuning(), AdapterTuning(16, sites="both")),
    "mam-adapter": (
        PrefixTuning(30),
        AdapterTuning(64, sites="ffn", insertion="parallel", scale=4.0, activation="relu"),
    ),
    "bitfit": (BiasTuning(),),
}


def methods_of(tuning: Any) -> tuple[TuningMethod, ...]:
    """The methods that ``tuning`` stands for.

    Parameters
    ----------
    tuning : str, TuningMethod or TuningSum
        Names may be joined with ``+``. ``"head"`` is the sum of nothing: the head is
        always trained. A name of `PRESETS` is one of the sums that the paper and its
        neighbours describe.

    Raises
    ------
    ValueError
        If a name is unknown or methods cannot be combined.
    TypeError
        If ``tuning`` is something else.

    Examples
    --------
    >>> methods_of("layernorm")
    (LayerNormTuning(),)
    >>> methods_of("head")
    ()
    """
    if isinstance(tuning, str) and tuning in PRESETS:
        methods = tuple(clone(method) for method in PRESETS[tuning])
    elif isinstance(tuning, str):
        names = [name.strip() for name in tuning.split("+")]
        unknown = [name for name in names if name not in (HEAD, *METHODS)]
        if unknown:
            raise ValueError(
                f"tuning={tuning!r}: {unknown[0]!r} is no tuning method. Valid names are "
                f"{[HEAD, *METHODS]}, alone or joined with '+', and {list(PRESETS)}, alone."
            )
        methods = tuple(METHODS[name]() for name in names if name != HEAD)
    elif isinstance(tuning, TuningMethod):
        methods = (tuning,)
    elif isinstance(tuning, TuningSum):
        methods = tuple(tuning.methods)
    else:
        raise TypeError(
            f"tuning must be a name or names joined with '+' ({[HEAD, *METHODS]}), a tuning "
            f"method or a sum of them; got {type(tuning).__name__}."
        )
    check_methods(methods)
    return methods


def nested_params(tuning: Any) -> dict[str, Any]:
    """``"<method>__<parameter>"`` to value; nothing where ``tuning`` is not valid."""
    try:
        methods = methods_of(tuning)
    except (TypeError, ValueError):
        return {}
    return {
        f"{method.name}__{key}": value
        for method in methods
        for key, value in method.get_params(deep=False).items()
    }


def with_params(tuning: Any, changes: dict[str, Any]) -> Any:
    """``tuning`` with nested parameters changed: fresh objects, or itself if all stays.

    Raises
    ------
    ValueError
        If a method is not part of ``tuning``, or has no such parameter.
    """
    current = nested_params(tuning)
    for key in changes:
        if key not in current:
            raise ValueError(
                f"Invalid parameter 'tuning__{key}' for tuning={tuning!r}. Valid parameters are "
                f"{[f'tuning__{known}' for known in current]}."
            )
    if all(current[key] is value or _same(current[key], value) for key, value in changes.items()):
        return tuning
    methods = tuple(clone(method) for method in methods_of(tuning))
    for method in methods:
        own = {
            key.partition("__")[2]: value
            for key, value in changes.items()
            if key.partition("__")[0] == method.name
        }
        method.set_params(**own)
    return methods[0] if len(methods) == 1 else TuningSum(methods)


def as_plain(methods: tuple[TuningMethod, ...]) -> list[dict[str, Any]]:
    """``methods`` as names, numbers and lists, for keeping."""
    return [
        {"method": method.name}
        | {
            key: list(value) if isinstance(value, range | tuple) else value
            for key, value in method.get_params(deep=False).items()
        }
        for method in methods
    ]


def from_plain(plain: list[dict[str, Any]]) -> tuple[TuningMethod, ...]:
    """The methods that `as_plain` described."""
    return tuple(
        METHODS[entry["method"]](**{key: value for key, value in entry.items() if key != "method"})
        for entry in plain
    )


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and isinstance(one, str | int | float | tuple) and one == other
