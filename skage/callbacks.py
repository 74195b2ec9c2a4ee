"""What watches the training: the error in years, divergence, a progress bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor
from tqdm.auto import tqdm


class AgeError(Callback):
    """Validation MAE of the expected age, in years, into the history.

    Parameters
    ----------
    values : ndarray (k,)
        The bins' values in years.
    probabilities : callable
        From the network's outputs to distributions over the bins.
    """

    def __init__(self, values: np.ndarray, probabilities: Callable[[Tensor], Tensor]):
        self.values, self.probabilities = values, probabilities

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.total_, self.n_ = 0.0, 0

    def on_batch_end(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        if training:
            return
        distribution = self.probabilities(kwargs["y_pred"]).cpu().double()
        expected = distribution @ torch.from_numpy(self.values)
        ages = batch[1]["ages"]
        self.total_ += (expected - ages).abs().sum().item()
        self.n_ += len(ages)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.n_:
            net.history.record("valid_mae", self.total_ / self.n_)


class Schedule(Callback):
    """Learning rates as multiples of the first ones; the output layer's into the history.

    Parameters
    ----------
    factor : callable or None
        From the epochs gone, such as 1.5, to the multiple; None leaves them alone.
    """

    def __init__(self, factor: Callable[[float], float] | None):
        self.factor = factor

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        groups = net.optimizer_.param_groups
        self.first_ = [group["lr"] for group in groups]
        last = list(net.module_.parameters())[-1]
        self.output_ = next(i for i, g in enumerate(groups) if any(p is last for p in g["params"]))

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any) -> None:
        self.batch_, self.n_batches_ = 0, -(-len(dataset_train) // net.batch_size)

    def on_batch_begin(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:
        if training and self.factor is not None:
            factor = self.factor(len(net.history) - 1 + self.batch_ / self.n_batches_)
            for group, first in zip(net.optimizer_.param_groups, self.first_, strict=True):
                group["lr"] = factor * first
            self.batch_ += 1

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        net.history.record("lr", net.optimizer_.param_groups[self.output_]["lr"])


def step(every: int, gamma: float) -> Callable[[float], float]:
    """Multiply by `gamma` after so many epochs, again and again, as DEX."""
    return lambda epochs: gamma ** (int(epochs) // every)


def one_cycle(n_epochs: int) -> Callable[[float], float]:
    """Rise from a 25th for the first fifth, then fall to nothing, along half cosines."""

    def factor(epochs: float) -> float:
        x = epochs / n_epochs
        wave = math.cos(math.pi * (x / 0.2 if x < 0.2 else (x - 0.2) / 0.8))
        return 0.52 - 0.48 * wave if x < 0.2 else 0.5 + 0.5 * wave

    return factor


class StopIfDiverged(Callback):
    """Stop at the first epoch whose loss is no number."""

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        last = net.history[-1]
        if not np.isfinite([last["train_loss"], last.get("valid_loss", 0.0)]).all():
            raise diverged(net)


def diverged(net: NeuralNet) -> ValueError:
    """The error of a training that has left the numbers."""
    last = net.history[-1]
    return ValueError(
        f"Training diverged: by epoch {last['epoch']} with lr={net.lr:g} the network's output is "
        f"no number (training loss {last['train_loss']:g}). Lower lr."
    )


class EpochBar(Callback):
    """A progress bar over the epochs."""

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        done = len(net.history)
        self.bar_ = tqdm(
            total=done + net.max_epochs, initial=done, desc="epochs", unit="epoch", leave=False
        )

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        last = net.history[-1]
        names = {"train_loss": "loss", "valid_mae": "valid MAE"}
        self.bar_.set_postfix({n: f"{last[k]:.2f}" for k, n in names.items() if k in last})
        self.bar_.update()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_  # a bar holds the terminal, which cannot be pickled
