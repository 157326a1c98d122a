"""The interface of tuning methods, and their sums.

A class derived from `TuningMethod` that sets a `name` is registered under it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sklearn.base import BaseEstimator

from sklearn_lntune.documentation import Documented
from sklearn_lntune.tuning.registration import register

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy

#: Names of hooks in version 0.1, and today's; methods written for it still work.
_OLD_HOOKS = {"reference": "taxonomy", "settled": "for_inference", "folded": "export_values"}
#: Array names that stand for a weight of the frozen module, and the name of that weight.
_OWN_WEIGHTS = {"gain": "weight", "weight": "weight", "bias": "bias"}


#: The largest rank, length or width; larger values make no sense on any model.
MAX_SIZE = 2**16


@dataclass(frozen=True)
class Array:
    """One learnt array of a delta.

    Parameters
    ----------
    path : str
        Path of the module that it belongs to, from the backbone's root.
    name : str
        Name within the module. The name in a delta is ``<method>/<path>/<name>``.
    site : str
        Place in the block: ``"embedding"``, ``"attention"``, ``"ffn"``, ``"final"`` or
        ``"qk"``.
    block : int or None
        Number of the block; None below the blocks.
    shape : tuple of int
        Shape for one fit.
    learns : {"gain", "weight", "bias"}, optional
        Which weight of the frozen module it changes, if its name does not say so. If arrays
        of several methods in a sum change the same weight, only the first method learns it.
    """

    path: str
    name: str
    site: str
    block: int | None
    shape: tuple[int, ...]
    learns: str | None = None

    @property
    def key(self) -> str:
        """Name of the array in a delta, without that of its method."""
        return f"{self.path}/{self.name}"

    @property
    def claim(self) -> str | None:
        """Weight of the backbone that only this array of a sum may change, if any."""
        weight = _OWN_WEIGHTS.get(self.learns or self.name)
        return None if weight is None else f"{self.path}/{weight}"

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class AttachContext:
    """The argument of `TuningMethod.attach`: where to put parameters.

    Parameters
    ----------
    shell : torch.nn.Module
        A private module tree over the frozen backbone.
    anatomy : Anatomy
        Norms, linear layers and attentions of the backbone.
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
    """Description of a method in the terms of PEFT-Ref.

    Sabry and Belz (2023), "PEFT-Ref: A Modular Reference Architecture and Typology for
    Parameter-Efficient Finetuning Techniques", arXiv:2304.12410.

    Parameters
    ----------
    workspace : str
        The part of a block that it changes.
    insertion : str
        Whether it follows that part (sequential) or runs beside it (parallel).
    integration : str
        How its result is combined with that of the frozen model.
    """

    workspace: str
    insertion: str
    integration: str


#: Names of `AttachContext` and `PeftRef` in version 0.1.
Ground = AttachContext
Terms = PeftRef


class TuningMethod(Documented, BaseEstimator):
    """Base class of the ways to tune a frozen backbone.

    A subclass stores its arguments untouched, sets `name` and `default_lr`, and
    implements `arrays` and `attach`. Setting `name` registers it: the name then works
    wherever that of a built-in method does. Methods are added with ``+``.

    Attributes
    ----------
    name : str
        Name of the method in ``tuning`` strings, nested parameters and delta arrays.
        Letters and digits, with single ``-``, ``_`` or ``.`` between them.
    default_lr : float
        The peak learning rate used for ``lr="auto"``.
    private : bool, default=False
        Whether the method trains the weights of the backbone itself, and so needs a copy.
    attach_order : int, default=100
        The methods of a sum are attached in ascending order, however the sum is written.
        A method that changes the output of a layer must come before one that reads it. If
        two methods learn the same weight, only the first does.

    See Also
    --------
    AttachContext : The argument of `attach`.
    """

    _public_module = "sklearn_lntune.tuning"

    name: ClassVar[str]
    default_lr: ClassVar[float]
    private: ClassVar[bool] = False
    attach_order: ClassVar[int] = 100
    #: Names in `shapes` that some modules may lack.
    optional: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in _OLD_HOOKS.items():
            # Calls by either name reach a subclass's hook, whichever name it was written under.
            if new in vars(cls):
                setattr(cls, old, vars(cls)[new])
            elif old in vars(cls):
                setattr(cls, new, vars(cls)[old])
        register(cls)

    def check_arguments(self) -> None:
        """Check the arguments as far as possible without a backbone.

        Raises
        ------
        ValueError
            If an argument is wrong for any backbone.
        """

    def shapes(self) -> dict[str, tuple[int | None, ...]] | None:
        """Shapes of the arrays at each module, as far as the arguments determine them.

        Saved files are checked against them before memory is allocated.

        Returns
        -------
        dict of str to tuple of (int or None), or None
            By array name; None stands for a length that depends on the backbone. None
            instead of a dict skips the check.
        """
        return None

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """Declare which arrays the method learns on a backbone; needs no weights.

        Parameters
        ----------
        anatomy : Anatomy
            Norms, linear layers and attentions of the backbone.

        Returns
        -------
        tuple of Array
            Not empty.

        Raises
        ------
        ValueError
            If an argument is wrong, for any backbone or for this one.
        """
        raise NotImplementedError

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Add trainable parameters to the shell.

        Parameters
        ----------
        context : AttachContext
            The shell, and how many fits share it.
        arrays : tuple of Array
            The arrays of the method that no other method of the sum learns.

        Returns
        -------
        dict of str to torch.nn.Parameter
            By `Array.key`, of shape ``(n_fits, *array.shape)``, or ``array.shape`` if
            the method is private. With their initial values the network computes the same as
            the frozen backbone (except with prefixes).
        """
        raise NotImplementedError

    def taxonomy(self) -> PeftRef:
        """Describe the method in the terms of PEFT-Ref, for `parameter_report`.

        Returns
        -------
        PeftRef
            Three empty strings by default.
        """
        return PeftRef("", "", "")

    def for_inference(self) -> TuningMethod:
        """Return the method without the parts that are needed for training only.

        Returns
        -------
        TuningMethod
            Declares the same arrays.
        """
        return self

    def export_values(
        self, arrays: tuple[Array, ...], values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Compute the values of ``arrays`` from those of the trained parameters.

        Parameters
        ----------
        arrays : tuple of Array
            As given to `attach`.
        values : mapping of str to ndarray
            Trained values, by the keys that `attach` returned.

        Returns
        -------
        dict of str to ndarray
            By `Array.key`.
        """
        return dict(values)

    reference, settled, folded = taxonomy, for_inference, export_values

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Write learnt ``values`` into the weights of ``model``.

        The methods of a sum are merged in the order in which they are attached.

        Parameters
        ----------
        model : torch.nn.Module
            A private copy of the backbone.
        values : mapping of str to ndarray
            By `Array.key`.

        Raises
        ------
        ValueError
            If the weights of the model cannot express them.
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
            If they cannot be combined.
        """

    def sum_warning(self, others: tuple[TuningMethod, ...]) -> str | None:
        """Return a warning about training the method together with ``others``, if any.

        Parameters
        ----------
        others : tuple of TuningMethod
            The rest of the sum.

        Returns
        -------
        str or None
            The text of the warning.
        """
        return None

    def count(self, anatomy: Anatomy) -> int:
        """Count the parameters that one fit trains, if this is the only method.

        Parameters
        ----------
        anatomy : Anatomy
            Norms, linear layers and attentions of the backbone.

        Returns
        -------
        int
            Number of trained values.
        """
        return sum(array.size for array in self.arrays(anatomy))

    def __add__(self, other: object) -> TuningSum:
        return TuningSum((self,)) + other

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return super().__repr__(N_CHAR_MAX)


class TuningSum(Documented, BaseEstimator):
    """Several tuning methods together.

    Parameters
    ----------
    methods : tuple of TuningMethod, default=()
        Methods with different names. The empty sum trains the head alone.

    Examples
    --------
    >>> from sklearn_lntune.tuning import LayerNormTuning, TuningSum
    >>> TuningSum() + LayerNormTuning(terms="bias")
    LayerNormTuning(terms='bias')
    """

    _public_module = "sklearn_lntune.tuning"

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
