"""What a tuning method is, and how methods add up.

A class derived from `TuningMethod` that sets a `name` is registered under it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import WeakSet

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy

HEAD = "head"
#: What else a string in ``tuning`` may say; `registry` adds the presets.
reserved = {HEAD}
#: The name goes into delta arrays (``name/path/array``), strings (``name+name``) and nested
#: parameters (``name__parameter``).
_NAME = re.compile(r"[A-Za-z0-9]+(?:[-._][A-Za-z0-9]+)*")
#: Hooks by the names that they had in version 0.1; methods written for it keep working.
_OLD_HOOKS = {"reference": "taxonomy", "settled": "for_inference", "folded": "export_values"}
#: What arrays are called that learn one of their module's own weights, and that weight.
_OWN_WEIGHTS = {"gain": "weight", "weight": "weight", "bias": "bias"}
_registered: dict[str, type[TuningMethod]] = {}
_seen: WeakSet[type[TuningMethod]] = WeakSet()


@dataclass(frozen=True)
class Array:
    """One learnt array of a delta.

    Attributes
    ----------
    path : str
        Path of the module it belongs to, from the backbone's root.
    name : str
        Its name there. With a method's name before them, path and name give the array's
        name in a delta.
    site : str
    block : int or None
    shape : tuple of int
        Shape for one fit.
    learns : {"gain", "weight", "bias"}, optional
        Which of the module's own weights it changes, if its name does not say so. Of
        the methods in a sum whose arrays change the same weight, only the first learns it.
    """

    path: str
    name: str
    site: str
    block: int | None
    shape: tuple[int, ...]
    learns: str | None = None

    @property
    def key(self) -> str:
        """Name of the array without that of its method."""
        return f"{self.path}/{self.name}"

    @property
    def claim(self) -> str | None:
        """The weight that no other array of a sum may change too, if there is one."""
        weight = _OWN_WEIGHTS.get(self.learns or self.name)
        return None if weight is None else f"{self.path}/{weight}"

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class AttachContext:
    """What methods are attached to.

    Attributes
    ----------
    shell : torch.nn.Module
        A private module tree over the frozen backbone.
    anatomy : Anatomy
    n_fits : int
        Fits trained side by side: the leading length of every parameter.
    generator : torch.Generator
        On the CPU, for random initial values.
    """

    shell: nn.Module
    anatomy: Anatomy
    n_fits: int
    generator: torch.Generator


class PeftRef(NamedTuple):
    """A method in the terms of PEFT-Ref.

    Sabry and Belz (2023), "PEFT-Ref: A Modular Reference Architecture and Typology for
    Parameter-Efficient Finetuning Techniques", arXiv:2304.12410.
    """

    #: Where in the block it works.
    workspace: str
    #: Whether it comes after what it works on (sequential), or runs beside it (parallel).
    insertion: str
    #: How its result is combined with that of the frozen model.
    integration: str


#: What `AttachContext` and `PeftRef` were called in version 0.1.
Ground = AttachContext
Terms = PeftRef


class TuningMethod(BaseEstimator):
    """Something that is trained on a frozen backbone.

    A subclass stores its arguments untouched, sets `name` and `default_lr`, and
    implements `arrays` and `attach`. Setting `name` registers it: from then on the name
    works wherever that of a built-in method does. Add methods with ``+``.

    Attributes
    ----------
    name : str
        Name of the method in ``tuning`` strings, nested parameters and delta arrays.
        Letters and digits, with single ``-``, ``_`` or ``.`` between them.
    default_lr : float
        The peak learning rate used for ``lr="auto"``.
    private : bool, default=False
        Whether the method changes the backbone's own weights and so needs a copy of them.
    attach_order : int, default=100
        The methods of a sum are attached in ascending order, however the sum is written.
        What changes a layer's output must come before what reads it. If two methods learn
        the same thing, the first does.

    See Also
    --------
    AttachContext : What `attach` is given.
    """

    name: ClassVar[str]
    default_lr: ClassVar[float]
    private: ClassVar[bool] = False
    attach_order: ClassVar[int] = 100

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in _OLD_HOOKS.items():
            if new in vars(cls):
                setattr(cls, old, vars(cls)[new])
            elif old in vars(cls):
                setattr(cls, new, vars(cls)[old])
        register(cls)

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """Declare what the method learns on a backbone; needs no weights.

        Parameters
        ----------
        anatomy : Anatomy
            Norms, linear layers and attentions of the backbone.

        Returns
        -------
        tuple of Array

        Raises
        ------
        ValueError
            If a parameter is wrong, by itself or for this backbone.
        """
        raise NotImplementedError

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Put trainable parameters into the shell.

        Parameters
        ----------
        context : AttachContext
        arrays : tuple of Array
            Those of `arrays` that no other method of the sum learns.

        Returns
        -------
        dict of str to torch.nn.Parameter
            By `Array.key`, of shape ``(n_fits, *array.shape)``, or ``array.shape`` if
            the method is private. With their initial values the network computes what the
            frozen backbone computes (prefixes excepted).
        """
        raise NotImplementedError

    def taxonomy(self) -> PeftRef:
        """The method in the terms of PEFT-Ref, for `parameter_report`.

        Returns
        -------
        PeftRef
            Three empty strings if the method does not say.
        """
        return PeftRef("", "", "")

    def for_inference(self) -> TuningMethod:
        """The method as it is once trained, without what only helps training.

        Returns
        -------
        TuningMethod
        """
        return self

    def export_values(
        self, arrays: tuple[Array, ...], values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Values of ``arrays`` from those of the trained parameters.

        Parameters
        ----------
        arrays : tuple of Array
        values : mapping of str to ndarray
            By the keys that `attach` returned.

        Returns
        -------
        dict of str to ndarray
            By `Array.key`.
        """
        return dict(values)

    reference, settled, folded = taxonomy, for_inference, export_values

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Write learnt ``values`` into the weights of ``model``, a private copy.

        Methods of a sum merge in the order of attaching.

        Parameters
        ----------
        model : torch.nn.Module
            The backbone.
        values : mapping of str to ndarray
            By `Array.key`.

        Raises
        ------
        ValueError
            If no weight of the model can hold them.
        """
        raise ValueError(
            f"what {self.name!r} learns cannot be written into the backbone's own weights."
        )

    def check_sum(self, others: tuple[TuningMethod, ...]) -> None:
        """Check that the method can be trained together with ``others``.

        Parameters
        ----------
        others : tuple of TuningMethod
            The rest of the sum.

        Raises
        ------
        ValueError
            If it cannot.
        """

    def sum_warning(self, others: tuple[TuningMethod, ...]) -> str | None:
        """What the user should know before training the method together with ``others``.

        Parameters
        ----------
        others : tuple of TuningMethod
            The rest of the sum.

        Returns
        -------
        str or None
            The text of a warning.
        """
        return None

    def count(self, anatomy: Anatomy) -> int:
        """Number of parameters that one fit trains, if this is the only method.

        Parameters
        ----------
        anatomy : Anatomy

        Returns
        -------
        int
        """
        return sum(array.size for array in self.arrays(anatomy))

    def __add__(self, other: object) -> TuningSum:
        return TuningSum((self,)) + other

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return super().__repr__(N_CHAR_MAX)


class TuningSum(BaseEstimator):
    """Several tuning methods together.

    Parameters
    ----------
    methods : tuple of TuningMethod, default=()
        No two with the same name. The empty sum trains the head alone.

    Examples
    --------
    >>> from sklearn_lntune.tuning import LayerNormTuning, TuningSum
    >>> TuningSum() + LayerNormTuning(terms="bias")
    LayerNormTuning(terms='bias')
    """

    def __init__(self, methods: tuple[TuningMethod, ...] = ()) -> None:
        self.methods = methods

    def __add__(self, other: object) -> TuningSum:
        if isinstance(other, TuningMethod):
            other = TuningSum((other,))
        if not isinstance(other, TuningSum):
            return NotImplemented
        total = TuningSum((*self.methods, *other.methods))
        check_methods(total.methods)
        return total

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return " + ".join(map(repr, self.methods)) or "TuningSum()"


def register(method: type[TuningMethod]) -> None:
    """Make ``method`` known by its name; a class that sets none is passed over.

    The same class defined again takes the place of the old one, as when a notebook cell
    runs once more. A class made inside a function gives way to any other.

    Raises
    ------
    ValueError
        If the name is malformed, or belongs to another class.
    """
    name = vars(method).get("name")
    if name is None:
        return
    _seen.add(method)  # a class that is refused lives on for a while, and is refused only once
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in reserved:
        raise ValueError(
            f"{method.__qualname__}.name must be letters and digits, with single '-', '_' or '.' "
            f"between them, and none of {sorted(reserved)}; got {name!r}."
        )
    known = _registered.get(name)
    if known is None or is_redefinition(method, known) or "<locals>" in known.__qualname__:
        _registered[name] = method
    elif "<locals>" not in method.__qualname__:
        raise ValueError(
            f"the tuning method {method.__qualname__} has the name {name!r}, which is that of "
            f"{known.__module__}.{known.__qualname__}. Give it another name."
        )


def registered_methods() -> dict[str, type[TuningMethod]]:
    """Every known method by its name, in the order of attaching.

    Examples
    --------
    >>> list(registered_methods())[:3]
    ['layernorm', 'bias', 'lora']
    """
    # cloudpickle, which carries classes of a notebook to other processes, sets the attributes
    # of a class after it has made it: `__init_subclass__` sees no name then.
    for method in _subclasses(TuningMethod):
        if method not in _seen:
            register(method)
    return dict(sorted(_registered.items(), key=lambda item: (item[1].attach_order, item[0])))


def is_redefinition(method: type[TuningMethod], known: type[TuningMethod]) -> bool:
    """Whether ``method`` is the class ``known``, or that class defined again.

    It may have moved, say from a notebook to a module; those of this package do not.
    """
    built_in = known.__module__.startswith(f"{__package__}.")
    return method.__qualname__ == known.__qualname__ and (
        method.__module__ == known.__module__ or not built_in
    )


def in_attach_order(methods: tuple[TuningMethod, ...]) -> tuple[TuningMethod, ...]:
    """``methods`` in the order in which they are attached and merged."""
    return tuple(sorted(methods, key=lambda method: (method.attach_order, method.name)))


def check_methods(methods: tuple[TuningMethod, ...]) -> None:
    """Raise if ``methods`` cannot be trained together."""
    for method in methods:
        if not isinstance(method, TuningMethod):
            raise TypeError(f"tuning is a sum of tuning methods; it holds {method!r}.")
        if not isinstance(getattr(method, "name", None), str):
            raise TypeError(f"{type(method).__qualname__} is a tuning method without a name.")
    names = [method.name for method in methods]
    for method in methods:
        if names.count(method.name) > 1:
            raise ValueError(f"tuning holds {method.name!r} twice; a sum takes each method once.")
        method.check_sum(tuple(other for other in methods if other is not method))


def by_path(arrays: tuple[Array, ...]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes by name, of the arrays at each module path."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for array in arrays:
        shapes.setdefault(array.path, {})[array.name] = array.shape
    return shapes


def _subclasses(method: type[TuningMethod]) -> list[type[TuningMethod]]:
    """All classes derived from ``method``."""
    direct = method.__subclasses__()
    return direct + [each for child in direct for each in _subclasses(child)]
