"""What a tuning method is, and how methods add up.

A class derived from `TuningMethod` that sets a `name` is registered under it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sklearn.base import BaseEstimator

from sklearn_lntune.tuning.registration import register

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy

#: Hooks by the names that they had in version 0.1; methods written for it keep working.
_OLD_HOOKS = {"reference": "taxonomy", "settled": "for_inference", "folded": "export_values"}
#: What arrays are called that learn one of their module's own weights, and that weight.
_OWN_WEIGHTS = {"gain": "weight", "weight": "weight", "bias": "bias"}


#: The largest rank, length or width; more makes no sense on any model.
MAX_SIZE = 2**16


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
    #: Names of `shapes` that some modules may lack.
    optional: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in _OLD_HOOKS.items():
            if new in vars(cls):
                setattr(cls, old, vars(cls)[new])
            elif old in vars(cls):
                setattr(cls, new, vars(cls)[old])
        register(cls)

    def check_arguments(self) -> None:
        """Raise a ValueError if an argument is wrong by itself, whatever the backbone."""

    def shapes(self) -> dict[str, tuple[int | None, ...]] | None:
        """Shapes of the arrays at each module by name, as far as the arguments decide them.

        None stands for a length that the backbone decides. Files are compared with it
        before memory is taken. A method that returns None instead of a dict does without.
        """
        return None

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
