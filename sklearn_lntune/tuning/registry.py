"""Turn the parameter ``tuning`` into methods, and handle their nested parameters."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from sklearn_lntune.checks import check_number
from sklearn_lntune.exceptions import UnknownMethodError
from sklearn_lntune.tuning.adapter import AdapterTuning
from sklearn_lntune.tuning.base import TuningMethod, TuningSum, check_methods
from sklearn_lntune.tuning.bias import BiasTuning
from sklearn_lntune.tuning.layernorm import LayerNormTuning
from sklearn_lntune.tuning.prefix import PrefixTuning
from sklearn_lntune.tuning.registration import HEAD, check_registered, registered, reserved

_ATTENTION_ADAPTER = AdapterTuning(16, sites="attention")
#: Named sums, from the paper and related ones.
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
    "bias-ffn-ln": (LayerNormTuning(), BiasTuning(sites="ffn", norms=False)),
}
reserved.update(PRESETS)


def registered_methods() -> dict[str, type[TuningMethod]]:
    """Every known method by its name, in the order of attaching.

    Examples
    --------
    >>> list(registered_methods())[:3]
    ['layernorm', 'bias', 'lora']
    """
    known = registered(TuningMethod).items()
    return dict(sorted(known, key=lambda item: (item[1].attach_order, item[0])))


def methods_of(tuning: Any) -> tuple[TuningMethod, ...]:
    """Return the methods that ``tuning`` stands for.

    Parameters
    ----------
    tuning : str, TuningMethod or TuningSum
        Names may be joined with ``+``. ``"head"`` is the empty sum, since the head is
        always trained. A key of `PRESETS` is a sum from the paper or a related one.

    Returns
    -------
    tuple of TuningMethod
        Methods that can be trained together.

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
        names, known = [name.strip() for name in tuning.split("+")], registered_methods()
        unknown = [name for name in names if name not in (HEAD, *known)]
        if unknown:
            raise ValueError(
                f"tuning={tuning!r}: {unknown[0]!r} is not a tuning method. Valid names are "
                f"{[HEAD, *known]}, alone or joined with '+', and {list(PRESETS)}, alone. Your own "
                "method is known once the module that defines it has been imported."
            )
        methods = tuple(known[name]() for name in names if name != HEAD)
    elif isinstance(tuning, TuningMethod):
        methods = (tuning,)
    elif isinstance(tuning, TuningSum):
        methods = tuple(tuning.methods)
    else:
        raise TypeError(
            f"tuning must be a name or names joined with '+' ({[HEAD, *registered_methods()]}), a "
            f"tuning method or a sum of them; got {type(tuning).__name__}."
        )
    check_methods(methods)
    for method in methods:
        _check_registered(method)
    return methods


def nested_params(tuning: Any) -> dict[str, Any]:
    """Values by ``"<method>__<parameter>"``; empty if ``tuning`` is not valid."""
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
    """``tuning`` with nested parameters changed: new objects, or itself if nothing changes.

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
        changed = {
            key.partition("__")[2]: value
            for key, value in changes.items()
            if key.partition("__")[0] == method.name
        }
        method.set_params(**changed)
    return methods[0] if len(methods) == 1 else TuningSum(methods)


def as_plain(methods: tuple[TuningMethod, ...]) -> list[dict[str, Any]]:
    """``methods`` by name and parameters, in plain values: the form that a fit stores.

    Ranges and tuples become lists.
    """
    return [
        {"method": method.name}
        | {
            key: list(value) if isinstance(value, range | tuple) else value
            for key, value in method.get_params(deep=False).items()
        }
        for method in methods
    ]


def from_plain(plain: list[dict[str, Any]]) -> tuple[TuningMethod, ...]:
    """The methods that `as_plain` described.

    Raises
    ------
    UnknownMethodError
        If no method with such a name is registered.
    ValueError
        If the method does not have these parameters.
    """
    return tuple(_from_entry(**entry) for entry in plain)


def mergeable_methods() -> list[str]:
    """Names of the methods whose values can be written into the weights of a plain model."""
    return [
        name
        for name, method in registered_methods().items()
        if method.merge is not TuningMethod.merge
    ]


def _from_entry(method: str, **params: Any) -> TuningMethod:
    kind = registered_methods().get(method)
    if kind is None:
        raise UnknownMethodError(
            f"the tuning method {method!r} is not known here. If it is your own, import the module "
            "that defines it, then try again; if not, it may come with a newer sklearn-lntune."
        )
    try:
        return kind(**params)
    except TypeError as error:
        raise ValueError(
            f"the tuning method {method!r} was fitted with the parameters {sorted(params)}, and "
            f"{kind.__qualname__} here does not take them ({error})."
        ) from error


def _check_registered(method: TuningMethod) -> None:
    """Raise unless the name leads back to the method, as predictions and saved files need."""
    kind = type(method)
    check_registered(kind, method.name)
    what = f"the tuning method {kind.__qualname__}"
    if not hasattr(method, "default_lr"):
        raise ValueError(f"{what} has no default_lr, the learning rate for lr='auto'.")
    check_number(f"{kind.__qualname__}.default_lr", method.default_lr, open_low=True)
    if "method" in method.get_params(deep=False):
        raise ValueError(f"{what} cannot have a parameter called 'method'.")


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and isinstance(one, str | int | float | tuple) and one == other
