"""What a tuning method is, and how methods add up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy


#: The largest rank, length or width; more makes no sense on any model.
MAX_SIZE = 2**16


@dataclass(frozen=True)
class Array:
    """One learnt array of a delta.

    Attributes
    ----------
    path : str
        Of the module it belongs to, from the backbone's root.
    name : str
        What it is there. With a method's name before them, path and name give the
        array's name in a delta.
    site : str
    block : int or None
    shape : tuple of int
        Of one fit.
    """

    path: str
    name: str
    site: str
    block: int | None
    shape: tuple[int, ...]

    @property
    def key(self) -> str:
        """Name of the array behind that of its method."""
        return f"{self.path}/{self.name}"

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Ground:
    """What methods are attached to.

    Attributes
    ----------
    shell : torch.nn.Module
        A private tree over the frozen backbone.
    anatomy : Anatomy
    n_fits : int
        Fits trained side by side: the leading length of every parameter.
    generator : torch.Generator
        On the CPU: random first values.
    """

    shell: nn.Module
    anatomy: Anatomy
    n_fits: int
    generator: torch.Generator


class Terms(NamedTuple):
    """A method in the terms of PEFT-Ref.

    Sabry and Belz (2023), "PEFT-Ref: A Modular Reference Architecture and Typology for
    Parameter-Efficient Finetuning Techniques", arXiv:2304.12410.
    """

    #: Where in the block it works.
    workspace: str
    #: Whether it stands behind what it works on, or beside it.
    insertion: str
    #: How its result meets that of the frozen model.
    integration: str


class TuningMethod(BaseEstimator):
    """Something that is trained on a frozen backbone.

    A subclass stores its arguments untouched, sets `name` and `default_lr`, and
    implements `arrays`, `attach` and `reference`. Add methods with ``+``.

    Attributes
    ----------
    name : str
        Of the method in ``tuning`` strings, nested parameters and delta arrays.
    default_lr : float
        The peak learning rate used for ``lr="auto"``.
    private : bool
        Whether the method changes the backbone's own weights and so needs a copy of them.
    """

    name: ClassVar[str]
    default_lr: ClassVar[float]
    private: ClassVar[bool] = False
    #: Names of `shapes` that some modules may lack.
    optional: ClassVar[tuple[str, ...]] = ()

    def check_arguments(self) -> None:
        """Raise a ValueError if an argument is wrong by itself, whatever the backbone."""

    def shapes(self) -> dict[str, tuple[int | None, ...]] | None:
        """Shapes of the arrays at each module by name, as far as the arguments decide them.

        None stands for a length that the backbone decides. Files are compared with it
        before memory is taken. A method that returns None in place of a dict does without.
        """
        return None

    def arrays(self, anatomy: Anatomy) -> tuple[Array, ...]:
        """What the method learns on a backbone; needs no weights.

        Raises
        ------
        ValueError
            If a parameter is wrong, by itself or for this backbone.
        """
        raise NotImplementedError

    def attach(self, ground: Ground, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        """Put trainable parameters into the shell.

        Parameters
        ----------
        ground : Ground
        arrays : tuple of Array
            Those of `arrays` that no other method of the sum claims.

        Returns
        -------
        dict of str to torch.nn.Parameter
            By `Array.key`, of shape ``(n_fits, *array.shape)``. With them the network
            computes what the frozen backbone computes (prefixes excepted).
        """
        raise NotImplementedError

    def reference(self) -> Terms:
        """The method in the terms of PEFT-Ref."""
        raise NotImplementedError

    def settled(self) -> TuningMethod:
        """The method as it is once trained, without what only helps training."""
        return self

    def folded(
        self, arrays: tuple[Array, ...], values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Values of ``arrays`` from those of the trained parameters."""
        return dict(values)

    def merge(self, model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
        """Write learnt ``values`` into the weights of ``model``, a backbone of its own.

        Raises
        ------
        ValueError
            If no weight of the model can hold them.
        """
        raise ValueError(
            f"what {self.name!r} learns cannot be written into the backbone's own weights."
        )

    def count(self, anatomy: Anatomy) -> int:
        """Trained parameters of one fit, were it the only method."""
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
        No two of the same type. The empty sum trains the head alone.

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


def check_methods(methods: tuple[TuningMethod, ...]) -> None:
    """Raise where methods cannot be trained together."""
    for method in methods:
        if not isinstance(method, TuningMethod):
            raise TypeError(f"tuning is a sum of tuning methods; it holds {method!r}.")
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"tuning holds {name!r} twice; a sum takes each method once.")
    if "full" in names and len(names) > 1:
        raise ValueError(
            f"tuning holds {names}: 'full' trains every weight already, so nothing adds to it."
        )


def by_path(arrays: tuple[Array, ...]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes by name, of the arrays at each module path."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for array in arrays:
        shapes.setdefault(array.path, {})[array.name] = array.shape
    return shapes
