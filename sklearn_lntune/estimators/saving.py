"""Save, export and publish a fitted estimator."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.backbone.poolings import COMPARED
from sklearn_lntune.backbone.where import BackboneRef, Where
from sklearn_lntune.checks import check_path
from sklearn_lntune.persistence import FittedState, portable
from sklearn_lntune.persistence.names import BACKBONE_FOLDER, is_hub_name
from sklearn_lntune.task import Classifying, Task

if TYPE_CHECKING:
    from sklearn_lntune.backbone.pool import Backbone
    from sklearn_lntune.persistence.document import Document


class SavingMixin(BaseEstimator):
    """Saving, exporting and publishing of a fitted estimator."""

    backbone: str | os.PathLike[str]
    max_length: Any
    n_features_in_: int

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        metrics: Mapping[str, float] | None = None,
        data: str | None = None,
        drop: Iterable[str] = (),
        include_backbone: bool = False,
    ) -> None:
        """Write the estimator to a folder, or to one file if ``path`` ends in ``.zip``.

        The files are ``config.json``, ``delta.safetensors``, ``SHA256SUMS`` over both and a
        ``README.md``; there is no pickle. They are written completely or not at all. A saved
        classifier at ``path``, damaged or not, is replaced, and concurrent readers get
        either the old one or the new one; anything else at ``path`` is an error and is left
        alone. The optimiser state that `partial_fit` keeps is not written.

        Parameters
        ----------
        path : str or path
            Where to write.
        metrics : mapping of str to float, optional
            Results to store with it, for instance ``{"accuracy": 0.95}``.
        data : str, optional
            A line about the training data, for the README.
        drop : iterable of str, default=()
            Parameters to write with their default values instead of their own.
        include_backbone : bool, default=False
            Copy the backbone's files into the folder, which then needs nothing else.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If a parameter cannot be written as JSON (callbacks, callables, random states)
            and is not in ``drop``; or there is something else at ``path``.

        Examples
        --------
        >>> clf.save("tickets.zip", metrics={"accuracy": 0.66})  # doctest: +SKIP
        """
        from sklearn_lntune.persistence.sealed import is_zip, write_sealed

        target = check_path("path", path)
        if include_backbone and is_zip(target):
            raise ValueError("include_backbone=True makes a folder; give a path without .zip.")
        document = self._document(metrics, data, drop)
        own = Path(self.backbone)  # a folder, or a name that looks like one
        if not include_backbone and own.is_dir() and target.resolve() in own.resolve().parents:
            raise ValueError(
                f"path={str(path)!r} holds the backbone of this classifier, which would be lost; "
                "pass include_backbone=True, or another path."
            )
        name = Path(os.path.abspath(target)).name  # "." has one, too
        files = self._files(document, name, include_backbone)
        write_sealed(target, files)

    def push_to_hub(
        self,
        repo: str,
        *,
        metrics: Mapping[str, float] | None = None,
        data: str | None = None,
        drop: Iterable[str] = (),
        include_backbone: bool = False,
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Publish the estimator on the Hugging Face hub, with a model card.

        An earlier classifier in the repository is replaced; other files stay. No path of
        this machine is published: for a backbone in a local folder, only the folder's name
        is, so pass ``backbone=`` to `load`.

        Parameters
        ----------
        repo : str
            ``"user/name"``; created if it does not exist.
        metrics : mapping of str to float, optional
            Results to store with it, for instance ``{"accuracy": 0.95}``.
        data : str, optional
            A line about the training data, for the model card.
        drop : iterable of str, default=()
            Parameters to write with their default values instead of their own.
        include_backbone : bool, default=False
            Publish the backbone's files as well.
        private : bool, optional
            Whether a new repository is private.
        revision : str, optional
            Branch to write to.
        token : str or bool, optional
            As in huggingface_hub; the default is the one you are logged in with.

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        ValueError
            As for `save`; or if a file in the repository that is not part of a saved
            classifier would be overwritten.

        Examples
        --------
        >>> clf.push_to_hub("me/tickets")  # doctest: +SKIP
        """
        from sklearn_lntune.persistence.publishing import publish, published, without_paths

        if not isinstance(repo, str) or not is_hub_name(repo):
            raise ValueError(f"repo must be 'user/name'; got {repo!r}.")
        document = published(self._document(metrics, data, drop))

        def files_with(beside: tuple[str, ...]) -> dict[str, bytes | Path]:
            files = self._files(replace(document, beside=beside), repo, include_backbone)
            return without_paths(files)

        return publish(repo, files_with, private=private, revision=revision, token=token)

    def export_transformers(self, folder: str | os.PathLike[str]) -> None:
        """Write a plain transformers model, with the delta merged into its weights.

        ``transformers.pipeline("text-classification", folder)`` then gives the same
        probabilities, or for a regressor the same numbers, without this package. The folder is
        as large as the backbone.

        Parameters
        ----------
        folder : str or path
            Where to write.

        Raises
        ------
        ValueError
            If ``pooling`` was not ``"native"`` (the model class cannot hold another
            head), or the tuning has prefixes or adapters, which cannot be merged.

        Examples
        --------
        >>> clf.export_transformers("tickets-model")  # doctest: +SKIP
        """
        from sklearn_lntune.exchange.transformers_folder import write_transformers

        state = self._state()
        write_transformers(check_path("folder", folder), self._checked_backbone(), state)

    def export_peft(self, folder: str | os.PathLike[str]) -> None:
        """Write an adapter that peft and transformers' `load_adapter` can read.

        Parameters
        ----------
        folder : str or path
            Where to write.

        Raises
        ------
        ValueError
            If ``pooling`` was not ``"native"``; or the tuning is not ``"layernorm"``,
            ``"lora"``, their sum, or ``"prefix"`` on an architecture where peft computes
            the same.

        Examples
        --------
        >>> clf.export_peft("tickets-adapter")  # doctest: +SKIP
        """
        from sklearn_lntune.exchange.peft_writing import write_peft

        state = self._state()
        write_peft(check_path("folder", folder), self._checked_backbone(), state)

    def export_onnx(self, file: str | os.PathLike[str]) -> None:
        """Write an ONNX file, for any tuning and any pooling.

        The inputs are ``input_ids``, ``attention_mask`` and, for a classifier of sentence
        pairs whose tokenizer distinguishes them, ``token_type_ids``, with any number of rows
        and tokens; if pairs are read separately, the shape is (rows, 2, tokens). The output is
        ``logits``, or for a regressor ``predictions``, in the unit of its targets. The metadata
        contains the classes. The tokenizer is not included: ``transformers.AutoTokenizer`` loads
        that of the backbone.

        Parameters
        ----------
        file : str or path
            Where to write.

        Raises
        ------
        ValueError
            If the classifier cuts long texts into windows: a row of the graph is one text.
        ImportError
            If onnx or onnxscript is missing.

        Examples
        --------
        >>> clf.export_onnx("tickets.onnx")  # doctest: +SKIP
        """
        from sklearn_lntune.exchange.onnx import write_onnx
        from sklearn_lntune.prediction.predictor import located, predictor_for

        state = self._state()
        if state.stride is not None and state.window_pooling != COMPARED:
            raise ValueError(
                "export_onnx writes a graph that reads a text as one row, but this estimator was "
                "fitted with long_texts='windows'. Fit with long_texts='truncate'; or use save(), "
                "which holds any estimator."
            )
        place = located(state, self._ref, Where("cpu", "float32"))
        predictor = predictor_for(self, state, *place)
        example = predictor.example(self.n_features_in_)
        classifies = isinstance(state.task, Classifying)
        meta = {
            **({"classes": state.task.output_names} if classifies else {"task": state.target_kind}),
            "max_length": state.max_length,
            "backbone": portable(state.backbone),
        }
        scale = state.task.output_scale
        write_onnx(check_path("file", file), predictor.network, example.inputs, meta, scale)

    # -- helpers -----------------------------------------------------------------------

    def _state(self) -> FittedState:
        check_is_fitted(self, "delta_")
        return FittedState.from_attributes(vars(self))

    def _set_state(self, state: FittedState, columns: Mapping[str, Any]) -> Self:
        for kind in self._kinds:
            for name in Task.of_kind(kind).optional_state_names:  # of the previous fit
                self.__dict__.pop(f"{name}_", None)
        for name, value in state.attributes().items():
            setattr(self, name, value)
        for name, value in columns.items():
            setattr(self, f"{name}_", value)
        return self

    def _document(
        self, metrics: Mapping[str, float] | None, data: str | None, drop: Iterable[str]
    ) -> Document:
        """The document to write; raises if a parameter has no form in JSON."""
        from sklearn_lntune.persistence.document import Document, unsavable

        state = self._state()
        params = self.get_params(deep=False)
        if not isinstance(drop, Iterable):
            raise TypeError(f"drop must be names of parameters; got {drop!r}.")
        dropped = {drop} if isinstance(drop, str) else set(drop)
        if unknown := dropped - set(params):
            raise ValueError(f"drop names {sorted(map(str, unknown))}, which are not parameters.")
        params = {name: value for name, value in params.items() if name not in dropped}
        if odd := unsavable(params):
            raise ValueError(
                f"{odd} hold values that JSON cannot: "
                f"{', '.join(f'{name}={params[name]!r}' for name in odd)}. Set them to something "
                f"plain, or pass drop={odd} to write their defaults."
            )
        columns: dict[str, Any] = {"n_features_in": int(self.n_features_in_)}
        if hasattr(self, "feature_names_in_"):
            columns["feature_names_in"] = np.asarray(self.feature_names_in_)
        document = Document(params, state, columns, _numbers(metrics), data)
        try:
            document.check()
        except ValueError as error:
            raise ValueError(f"this classifier cannot be saved: {error}") from error
        return document

    def _files(
        self, document: Document, where: str, include_backbone: bool
    ) -> dict[str, bytes | Path]:
        from sklearn_lntune.persistence.card import card

        files: dict[str, bytes | Path] = {
            **document.files(),
            "README.md": card(document, where, include_backbone),
        }
        if include_backbone:
            own = self._checked_backbone().source.files()
            files |= {f"{BACKBONE_FOLDER}/{name}": file for name, file in own.items()}
        return files

    def _checked_backbone(self) -> Backbone:
        """The backbone of the fit."""
        from sklearn_lntune.network import check_deltas
        from sklearn_lntune.prediction.predictor import backbone_of
        from sklearn_lntune.tuning.registry import from_plain

        state = self._state()
        backbone = backbone_of(state, self._ref)
        methods, n_outputs = from_plain(state.tuning), state.task.n_outputs
        windows = state.window_pooling
        check_deltas(backbone, methods, state.pooling, n_outputs, [state.delta], windows)
        return backbone

    @property
    def _ref(self) -> BackboneRef:
        return BackboneRef.from_params(vars(self))


def _numbers(metrics: Any) -> dict[str, float]:
    """``metrics`` as plain numbers by name."""
    if not isinstance(metrics, Mapping | None):
        raise TypeError(f"metrics must be a mapping of names to numbers; got {metrics!r}.")
    numbers = {}
    for name, value in (metrics or {}).items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"metrics[{name!r}] must be a number; got {value!r}.") from error
    return numbers
