"""The input of a network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """Rows on a device, with everything that training needs to know about them.

    Attributes
    ----------
    inputs : dict of str to torch.Tensor
        Arguments of the backbone's forward; the first axis is that of the rows.
    targets : torch.Tensor, optional
        As the task encodes them.
    weights : torch.Tensor of shape (n_rows,), optional
        Weight of each row in the loss.
    fits : torch.Tensor of int64 of shape (n_rows,), optional
        The fit that each row belongs to. Without it, the batch consists of as many groups
        of the same size as there are fits.
    entering : torch.Tensor of shape (n_rows, n_tokens, size), optional
        Cached activations that enter the lowest trained block.
    dropout : torch.Tensor of shape (n_rows, embedding_size), optional
        Dropout factors for the pooled vectors, instead of those that the network would draw.
    share : torch.Tensor of bool, optional
        Which rows of the whole batch these are, if other processes compute the rest.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    fits: torch.Tensor | None = None
    entering: torch.Tensor | None = None
    dropout: torch.Tensor | None = None
    share: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, name: str) -> torch.Tensor:
        """One of the inputs, since skorch's callbacks expect a mapping of inputs."""
        return self.inputs[name]

    @property
    def mask(self) -> torch.Tensor | None:
        """1 for tokens and 0 for padding; None if there is no padding, as with images."""
        return self.inputs.get("attention_mask")

    @property
    def n_rows(self) -> int:
        """Number of rows in all processes together."""
        return len(self) if self.share is None else len(self.share)

    def take(self, rows: slice | torch.Tensor) -> Batch:
        """Some of the rows."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        inputs = {name: value[rows] for name, value in values.pop("inputs").items()}
        taken = {name: None if value is None else value[rows] for name, value in values.items()}
        return Batch(inputs, **taken)
