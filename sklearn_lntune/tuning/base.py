"""What a tuning method is, and how methods add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from torch import nn

    from sklearn_lntune.backbone.anatomy import Anatomy


class TuningMethod(BaseEstimator):
    """Something that is trained on a frozen backbone.

    A subclass stores its arguments untouched, sets `name` and `default_lr`, and
    implements `attach` and `count`. Add methods with ``+``.

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

    def attach(self, shell: nn.Module, anatomy: Anatomy, n_fits: int) -> dict[str, nn.Parameter]:
        """Put trainable parameters into ``shell``.

        Parameters
        ----------
        shell : torch.nn.Module
            A private tree over the frozen backbone.
        anatomy : Anatomy
        n_fits : int
            Fits trained side by side: the leading length of every parameter.

        Returns
        -------
        dict of str to torch.nn.Parameter
            ``"<module path>/<array>"`` to a parameter of shape ``(n_fits, ...)``, with
            the values of the frozen backbone.
        """
        raise NotImplementedError

    def count(self, anatomy: Anatomy) -> int:
        """Trained parameters of one fit."""
        raise NotImplementedError

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
