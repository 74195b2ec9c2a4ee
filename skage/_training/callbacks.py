"""Training callbacks: validation error in years, schedule, divergence check, progress bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor
from tqdm.auto import tqdm

from ..schedules import OneCycle, StepDecay


class AgeError(Callback):
    """Record the validation MAE of the expected age, in years, in the history.

    Parameters
    ----------
    values : ndarray (k,)
        Ages in years that the bins stand for.
    probabilities : callable
        Maps the network's outputs to distributions over the bins.
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
    """Scale the initial learning rates, and record the output layer's in the history.

    Parameters
    ----------
    schedule : StepDecay, OneCycle or None
        None does not change the learning rates.
    max_epochs : int
        Total number of epochs, including those before a resumed checkpoint.
    """

    def __init__(self, schedule: StepDecay | OneCycle | None, max_epochs: int):
        self.schedule, self.max_epochs = schedule, max_epochs

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        groups = net.optimizer_.param_groups
        self.initial_ = [group["lr"] for group in groups]
        last = list(net.module_.parameters())[-1]
        self.output_ = next(i for i, g in enumerate(groups) if any(p is last for p in g["params"]))

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any) -> None:
        self.batch_, self.n_batches_ = 0, -(-len(dataset_train) // net.batch_size)

    def on_batch_begin(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:
        if training and self.schedule is not None:
            epochs = len(net.history) - 1 + self.batch_ / self.n_batches_
            factor = self.schedule.factor(epochs, self.max_epochs)
            for group, initial in zip(net.optimizer_.param_groups, self.initial_, strict=True):
                group["lr"] = factor * initial
            self.batch_ += 1

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        net.history.record("lr", net.optimizer_.param_groups[self.output_]["lr"])


class RaiseOnDivergence(Callback):
    """Raise after the first epoch whose loss is NaN or infinite."""

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        last = net.history[-1]
        if not np.isfinite([last["train_loss"], last.get("valid_loss", 0.0)]).all():
            raise divergence_error(net, "the loss is")


def divergence_error(net: NeuralNet, what: str) -> ValueError:
    """Return the error to raise when `what`, such as "the loss is", is not finite."""
    epoch = net.history[-1]["epoch"]
    return ValueError(
        f"Training diverged at epoch {epoch} with lr={net.lr:g}: {what} NaN or infinite. Lower lr."
    )


class EpochBar(Callback):
    """Show a progress bar over the epochs."""

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
        del self.bar_  # it refers to the terminal, which cannot be pickled
