"""How a classifier leaves the process: files, peft, plain transformers, the hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.persistence import FittedState, portable
from sklearn_lntune.persistence.names import BACKBONE_FOLDER, is_hub_name

if TYPE_CHECKING:
    from sklearn_lntune.backbone.pool import Backbone
    from sklearn_lntune.persistence.document import Document


class SavingMixin(BaseEstimator):
    """Saving, exporting and publishing of a fitted estimator."""

    backbone: str | os.PathLike[str]
    revision: str | None
    trust_remote_code: bool
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
        """Write the classifier to a folder, or to one file if ``path`` ends in ``.zip``.

        No pickle: ``config.json``, ``delta.safetensors``, ``SHA256SUMS`` over both and a
        ``README.md``. Written whole or not at all; a saved classifier at ``path`` is
        replaced. The moments that `partial_fit` keeps are not written.

        Parameters
        ----------
        path : str or path
        metrics : mapping of str to float, optional
            Results to keep with it, for instance ``{"accuracy": 0.95}``.
        data : str, optional
            A line on the training data, for the README.
        drop : iterable of str, default=()
            Parameters to reset to their defaults in what is written.
        include_backbone : bool, default=False
            Copy the backbone's files into the folder, which then needs nothing else.

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        ValueError
            If a parameter has no form in JSON (callbacks, callables, random states) and
            is not in ``drop``; or ``path`` is something else.

        Examples
        --------
        >>> clf.save("tickets.zip", metrics={"accuracy": 0.66})  # doctest: +SKIP
        """
        from sklearn_lntune.persistence.sealed import is_zip, write_sealed

        target = Path(path)
        if include_backbone and is_zip(target):
            raise ValueError("include_backbone=True makes a folder; give a path without .zip.")
        document = self._document(metrics, data, drop)
        own = Path(self.backbone)  # a folder, or a name that looks like one
        if not include_backbone and own.is_dir() and target.resolve() in own.resolve().parents:
            raise ValueError(
                f"path={str(path)!r} holds the backbone of this classifier, which would be lost; "
                "pass include_backbone=True, or another path."
            )
        write_sealed(target, self._files(document, target.name, include_backbone))

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
        """Publish the classifier on the Hugging Face hub, with a model card.

        Parameters
        ----------
        repo : str
            ``"user/name"``; made if it is not there.
        metrics, data, drop, include_backbone
            As for `save`.
        private : bool, optional
            For a new repository.
        revision : str, optional
            Branch to write to.
        token : str or bool, optional
            As in huggingface_hub; the default is the one you are logged in with.

        Returns
        -------
        str
            Address of the commit.

        Examples
        --------
        >>> clf.push_to_hub("me/tickets")  # doctest: +SKIP
        """
        from huggingface_hub import HfApi

        from sklearn_lntune.persistence.sealed import write_sealed

        if not is_hub_name(repo):
            raise ValueError(f"repo must be 'user/name'; got {repo!r}.")
        document = self._document(metrics, data, drop)
        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent, "classifier")
            write_sealed(folder, self._files(document, repo, include_backbone))
            api.create_repo(repo, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                revision=revision,
                commit_message="A classifier of sklearn-lntune",
                # What an earlier classifier left is in no list of digests.
                delete_patterns="*",
            )
        return str(commit.commit_url)

    def export_transformers(self, folder: str | os.PathLike[str]) -> None:
        """Write a plain transformers folder: what was learnt is merged into the weights.

        ``transformers.pipeline("text-classification", folder)`` then gives the same
        probabilities, without this package. The folder is as large as the backbone.

        Parameters
        ----------
        folder : str or path

        Raises
        ------
        ValueError
            If ``pooling`` was not ``"native"`` (the model class cannot hold another
            head), or the tuning has prefixes or adapters, which no weight can hold.

        Examples
        --------
        >>> clf.export_transformers("tickets-model")  # doctest: +SKIP
        """
        from sklearn_lntune.persistence.plain import write_transformers

        state = self._state()
        write_transformers(Path(folder), self._checked_backbone(), state)

    def export_peft(self, folder: str | os.PathLike[str]) -> None:
        """Write an adapter that peft and transformers' `load_adapter` read.

        Parameters
        ----------
        folder : str or path

        Raises
        ------
        ValueError
            If ``pooling`` was not ``"native"``; or the tuning is another than
            ``"layernorm"``, ``"lora"``, their sum, or ``"prefix"`` on an architecture
            where peft computes the same.

        Examples
        --------
        >>> clf.export_peft("tickets-adapter")  # doctest: +SKIP
        """
        from sklearn_lntune.persistence.peft_writing import write_peft

        state = self._state()
        write_peft(Path(folder), self._checked_backbone(), state)

    def export_onnx(self, file: str | os.PathLike[str]) -> None:
        """Write one ONNX file, for any tuning and any pooling.

        Its inputs are ``input_ids``, ``attention_mask`` and, for a classifier of sentence
        pairs whose tokenizer tells them apart, ``token_type_ids``, of any number of rows
        and tokens; its output is ``logits``. The classes stand in its metadata. The
        tokenizer is not in it: ``transformers.AutoTokenizer`` loads that of the backbone.

        Parameters
        ----------
        file : str or path

        Raises
        ------
        ImportError
            If onnx or onnxscript is missing.

        Examples
        --------
        >>> clf.export_onnx("tickets.onnx")  # doctest: +SKIP
        """
        from sklearn_lntune.persistence.onnx import write_onnx
        from sklearn_lntune.prediction import located, predictor_for

        state = self._state()
        place = located(
            state,
            backbone=self.backbone,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            device="cpu",
            precision="float32",
        )
        predictor = predictor_for(self, state, *place)
        pair = self.n_features_in_ == 2
        example = predictor.batch([("a text", "another")] * 2 if pair else ["a text", "another"])
        meta = {
            "classes": [str(each) for each in state.classes.tolist()],
            "max_length": state.max_length,
            "backbone": portable(state.backbone),
        }
        write_onnx(Path(file), predictor.network, example, meta)

    @classmethod
    def from_peft(
        cls,
        folder: str | os.PathLike[str],
        classes: Any = None,
        *,
        backbone: str | os.PathLike[str] | None = None,
        **params: Any,
    ) -> Self:
        """A fitted classifier from a LN_TUNING or LORA adapter for sequence classification.

        Parameters
        ----------
        folder : str or path
            Written by peft, or by `export_peft`.
        classes : array-like of shape (n_classes,), optional
            The label of each output; 0, 1, 2, ... if left out.
        backbone : str or path, optional
            In place of the model that the adapter names.
        **params
            Other parameters of the estimator.

        Returns
        -------
        LNTunedTransformerClassifier

        Raises
        ------
        ValueError
            If the adapter is of another kind, or does not fit backbone and classes.

        Examples
        --------
        >>> clf = LNTunedTransformerClassifier.from_peft(
        ...     "tickets-adapter", ["billing", "bug"])  # doctest: +SKIP
        """
        from sklearn_lntune.persistence.peft_reading import read_config, read_peft
        from sklearn_lntune.tuning.base import TuningSum

        config = read_config(Path(folder))
        if backbone is None and not config.get("base_model_name_or_path"):
            raise ValueError(f"{folder} does not name its base model; pass backbone=.")
        estimator = cls().set_params(
            backbone=backbone or config["base_model_name_or_path"],
            **{"revision": None if backbone else config.get("revision"), **params},
        )
        methods, state = read_peft(
            Path(folder),
            classes,
            estimator.backbone,
            revision=estimator.revision,
            trust_remote_code=estimator.trust_remote_code,
            max_length=estimator.max_length,
        )
        estimator.set_params(pooling="native", tuning=TuningSum(methods))
        return estimator._set_state(state, {"n_features_in": 1})  # noqa: SLF001 - our own

    # -- parts ---------------------------------------------------------------------

    def _state(self) -> FittedState:
        check_is_fitted(self, "delta_")
        return FittedState.from_attributes(vars(self))

    def _set_state(self, state: FittedState, columns: Mapping[str, Any]) -> Self:
        for name, value in state.attributes().items():
            setattr(self, name, value)
        for name, value in columns.items():
            setattr(self, f"{name}_", value)
        return self

    def _document(
        self, metrics: Mapping[str, float] | None, data: str | None, drop: Iterable[str]
    ) -> Document:
        """What is to be written; raises where a parameter cannot be."""
        from sklearn_lntune.persistence.document import Document, unsavable

        state = self._state()
        params = self.get_params(deep=False)
        dropped = {drop} if isinstance(drop, str) else set(drop)
        if unknown := dropped - set(params):
            raise ValueError(f"drop names {sorted(unknown)}, which are no parameters.")
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
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        return Document(params, state, columns, numbers, data)

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
        from sklearn_lntune.prediction import backbone_of

        return backbone_of(self._state(), self.backbone, self.revision, self.trust_remote_code)
