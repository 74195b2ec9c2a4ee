"""The skorch net of the head, and how it is fed with contiguous blocks of activations."""

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
    """Some rows of the activations and their targets.

    Parameters
    ----------
    activations : ndarray (n_rows, ...)
    rows : ndarray (n, n_versions), int
        Where in it the images stand; of several versions of an image one is drawn
        at random each time.
    targets : Targets
        Of those n images.
    """

    def __init__(self, activations: np.ndarray, rows: np.ndarray, targets: Targets):
        self.activations = torch.from_numpy(activations)
        self.rows = torch.from_numpy(rows)
        self.targets = targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, selection: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """A whole batch in one gather, where a DataLoader would ask for it a sample a call."""
        chosen = np.asarray(selection)
        n_versions = self.rows.shape[1]
        version = torch.randint(n_versions, (len(chosen),)) if n_versions > 1 else 0
        rows = self.rows[chosen, version]
        return self.activations.index_select(0, rows), self.targets.tensors(chosen)


def _whole(batch: tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
    """A DataLoader's collate_fn for what is a batch already."""
    return batch


class HeadNet(NeuralNet):
    """A skorch net whose forward pass runs in mixed precision where that is faster."""

    def __init__(self, *args: Any, autocast: torch.dtype | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.autocast = autocast

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        device = torch.device(self.device).type
        with torch.autocast(device, self.autocast, enabled=self.autocast is not None):
            return super().infer(x, **fit_params)


def restore_net(head: nn.Module, criterion: Criterion) -> HeadNet:
    """A net for prediction, on the CPU, around a head that is trained already.

    It takes arrays of activations, as any skorch net does.
    """
    collate = {f"iterator_{kind}__collate_fn": None for kind in ("train", "valid")}
    net = make_net(head, criterion, callbacks=None, **collate).initialize()
    net.trim_for_prediction()
    net.module = net.criterion = None  # lambdas, which cannot be pickled
    return net


def make_net(head: nn.Module, criterion: Criterion, **options: Any) -> HeadNet:
    """A net around `head` itself."""
    defaults: dict[str, Any] = {
        "iterator_train__shuffle": True,
        "iterator_train__collate_fn": _whole,
        "iterator_valid__collate_fn": _whole,
    }
    return HeadNet(
        lambda: head,  # given the instance itself, skorch would train a copy
        criterion=lambda: criterion,
        predict_nonlinearity=criterion.probabilities,
        **defaults | options,
    )
