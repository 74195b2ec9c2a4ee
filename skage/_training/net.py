"""The skorch net around the head, and the dataset of activations that it trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn
from torch.utils.data import Dataset

from .criterion import Criterion
from .targets import Targets


class ActivationDataset(Dataset):
    """Activations and targets of n images.

    Parameters
    ----------
    activations : ndarray (n_rows, ...)
    rows : ndarray (n, n_versions), int
        Row in `activations` of each version of an image. Each access draws one of
        the versions at random.
    targets : Targets (n)
    """

    def __init__(self, activations: np.ndarray, rows: np.ndarray, targets: Targets):
        self.activations = torch.from_numpy(activations)
        self.rows = torch.from_numpy(rows)
        self.targets = targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, selection: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a batch in one gather, instead of one call for each image."""
        chosen = np.asarray(selection)
        n_versions = self.rows.shape[1]
        version = torch.randint(n_versions, (len(chosen),)) if n_versions > 1 else 0
        rows = self.rows[chosen, version]
        return self.activations.index_select(0, rows), self.targets.tensors(chosen)


def _identity_collate(
    batch: tuple[Tensor, dict[str, Tensor]],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the batch as it is: ActivationDataset has collated it already."""
    return batch


class HeadNet(NeuralNet):
    """A skorch net whose forward pass runs in mixed precision if `autocast` is given."""

    def __init__(self, *args: Any, autocast: torch.dtype | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.autocast = autocast

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        device = torch.device(self.device).type
        with torch.autocast(device, self.autocast, enabled=self.autocast is not None):
            return super().infer(x, **fit_params)


def restore_net(head: nn.Module, criterion: Criterion) -> HeadNet:
    """Return a net on the CPU, for prediction only, around a trained head.

    It takes arrays of activations, like any skorch net.
    """
    collate = {f"iterator_{kind}__collate_fn": None for kind in ("train", "valid")}
    net = make_net(head, criterion, callbacks=None, **collate).initialize()
    net.trim_for_prediction()
    net.module = net.criterion = None  # lambdas, which cannot be pickled
    return net


def make_net(head: nn.Module, criterion: Criterion, **options: Any) -> HeadNet:
    """Return a net that trains `head` in place."""
    defaults: dict[str, Any] = {
        "iterator_train__shuffle": True,
        "iterator_train__collate_fn": _identity_collate,
        "iterator_valid__collate_fn": _identity_collate,
    }
    return HeadNet(
        lambda: head,  # skorch would train a copy of an instance
        criterion=lambda: criterion,
        predict_nonlinearity=criterion.probabilities,
        **defaults | options,
    )
