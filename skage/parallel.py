"""Training in several processes at once, through skorch's support for accelerate."""

from __future__ import annotations

from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.hf import AccelerateMixin
from torch.utils.data import Dataset

from .net import SuffixNet


def make_accelerator(device: torch.device, batch_size: int) -> Any:
    """What connects the processes that `accelerate launch` or `torchrun` has started.

    Raises
    ------
    ImportError
        If Hugging Face's accelerate is not installed.
    ValueError
        If the processes cannot take equal shares of a batch.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import DataLoaderConfiguration
    except ImportError as error:
        raise ImportError(
            "accelerate=True needs an extra: pip install 'skage[accelerate]'"
        ) from error
    # A batch is what the user asked for, split among the processes; skorch moves it.
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        device_placement=False,
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )
    if batch_size % accelerator.num_processes:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared evenly by {accelerator.num_processes} "
            "processes; pass a multiple of their number."
        )
    return accelerator


def from_first(accelerator: Any, thing: Any) -> Any:
    """What the first process has, in all of them."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([thing], from_process=0)[0]


class AcceleratedNet(AccelerateMixin, SuffixNet):
    """A `SuffixNet` whose every process trains on its share of each batch."""

    def get_iterator(self, dataset: Dataset, training: bool = False) -> Any:
        if training:
            return super().get_iterator(dataset, training=True)
        # Every process validates on all images, so that all stop at the same epoch.
        return super(AccelerateMixin, self).get_iterator(dataset, training=False)


class SharedLoss(Callback):
    """The training loss of all processes in place of one's own."""

    def __init__(self, accelerator: Any):
        self.accelerator = accelerator

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        own = torch.tensor(net.history[-1]["train_loss"], device=self.accelerator.device)
        shared = self.accelerator.reduce(own, reduction="mean")
        net.history.record("train_loss", shared.item())
