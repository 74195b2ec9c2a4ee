"""The skorch net that trains the suffix on contiguous blocks of activations."""

from __future__ import annotations

import contextlib
import copy
import inspect
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PrintLog
from skorch.helper import predefined_split
from skorch.utils import noop
from torch import Tensor, nn
from torch.utils.data import Dataset

from .callbacks import AgeError, EpochBar, StopIfDiverged, diverged

_PATIENCE = 5  # epochs without a better validation error, for early_stopping=True


@dataclass
class Targets:
    """What the network learns from, a row an image.

    Parameters
    ----------
    codes : ndarray (n,), int64
        Index of the class.
    weight : ndarray (n,), float32
        Weight in the loss, 1 on average.
    ages : ndarray (n,), float32, or None
        Ages in years, for the validation error.
    """

    codes: np.ndarray
    weight: np.ndarray
    ages: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        fields = {"codes": self.codes, "weight": self.weight, "ages": self.ages}
        return {k: torch.from_numpy(v[rows]) for k, v in fields.items() if v is not None}


class Rows(Dataset):
    """Some rows of the activations and their targets, taken a block at a time."""

    def __init__(self, activations: np.ndarray, targets: Targets, rows: np.ndarray):
        self.activations = torch.from_numpy(activations)
        self.targets = targets
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def block(self, selection: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rows = self.rows[selection.numpy()]
        return self.activations.index_select(0, torch.from_numpy(rows)), self.targets.take(rows)


class Blocks:
    """skorch's iterator: whole batches in one gather, rather than a call a sample."""

    def __init__(self, dataset: Rows, batch_size: int, shuffle: bool = False):
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        n = len(self.dataset)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        for selection in order.split(self.batch_size):
            yield self.dataset.block(selection)


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy of the softmax against the true class (DEX, section 3.2)."""

    def forward(self, logits: Tensor, targets: dict[str, Tensor]) -> Tensor:
        loss = nn.functional.cross_entropy(logits.float(), targets["codes"], reduction="none")
        return (loss * targets["weight"]).mean()


class SuffixNet(NeuralNet):
    """A skorch net whose forward pass runs in mixed precision where that is faster."""

    def __init__(self, *args: Any, autocast: torch.dtype | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.autocast = autocast

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        device = torch.device(self.device).type
        with torch.autocast(device, self.autocast, enabled=self.autocast is not None):
            return super().infer(x, **fit_params)


def train_suffix(
    suffix: nn.Module,
    activations: np.ndarray,
    targets: Targets,
    valid_rows: np.ndarray,
    *,
    values: np.ndarray | None,
    optimizer: str | type,
    lr: float,
    weight_decay: float,
    momentum: float,
    batch_size: int,
    max_epochs: int,
    lr_step: int | None,
    lr_gamma: float,
    early_stopping: bool | int,
    callbacks: list | None,
    device: torch.device,
    precision: torch.dtype,
    verbose: int,
) -> SuffixNet:
    """Train `suffix` with skorch and return the net, fit for prediction only.

    `valid_rows` are held out; the others are trained on. `values` are the ages
    in years that stand for the classes. The optimizer's state is dropped, the
    history kept.
    """
    is_valid = np.zeros(len(activations), dtype=bool)
    is_valid[valid_rows] = True
    everything = np.arange(len(activations))
    train = Rows(activations, targets, everything[~is_valid])
    valid = Rows(activations, targets, everything[is_valid])

    own: list[tuple[str, Callback]] = [("diverged", StopIfDiverged())]
    if values is not None and targets.ages is not None:
        own.append(("age_error", AgeError(values.astype(np.float64))))
    # skorch steps the schedule when an epoch has ended: the first drop comes
    # after epoch `lr_step`. A drop after the last epoch is none.
    schedule = LRScheduler(
        "StepLR", step_size=lr_step or max_epochs, gamma=lr_gamma, event_name="lr"
    )
    own.append(("schedule", schedule))
    if early_stopping:
        is_flag = isinstance(early_stopping, bool | np.bool_)
        patience = _PATIENCE if is_flag else int(early_stopping)
        monitor = "valid_loss" if values is None else "valid_mae"
        own.append(
            ("early_stopping", EarlyStopping(monitor, patience=patience, load_best=True, sink=noop))
        )
    if verbose == 1:
        own.append(("bar", EpochBar()))

    net = _make_net(
        suffix,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        train_split=predefined_split(valid) if len(valid) else None,
        callbacks=[*own, *copy.deepcopy(list(callbacks or ()))],
        callbacks__print_log=PrintLog() if verbose > 1 else None,
        device=str(device),
        autocast=precision if precision != torch.float32 else None,
        verbose=verbose,
        **_optimizer(optimizer, weight_decay, momentum, device),
    )
    with _ctrl_c_raises():
        net.fit(train, None)
    # The last steps of all come after the last loss.
    sample = net.evaluation_step(train.block(torch.arange(min(len(train), 32))))
    if not sample.isfinite().all():
        raise diverged(net)
    history = net.history
    net.history = type(history)(history)  # trimming empties it in place
    _trim(net)
    net.history = history
    return net


def restore_net(suffix: nn.Module) -> SuffixNet:
    """A net for prediction around a suffix that is trained already."""
    net = _make_net(suffix, callbacks=None).initialize()
    _trim(net)
    return net


def _make_net(suffix: nn.Module, **options: Any) -> SuffixNet:
    return SuffixNet(
        lambda: suffix,  # given the instance itself, skorch would train a copy
        criterion=WeightedCrossEntropy,
        iterator_train=Blocks,
        iterator_train__shuffle=True,
        iterator_valid=Blocks,
        predict_nonlinearity=nn.Softmax(dim=1),
        **options,
    )


def _trim(net: SuffixNet) -> None:
    net.trim_for_prediction()
    net.module_.to("cpu")
    net.module = None  # a lambda, which cannot be pickled
    net.device = "cpu"


@contextlib.contextmanager
def _ctrl_c_raises() -> Iterator[None]:
    """Let Ctrl-C end the work, which skorch takes for a wish to stop training early."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    pressed = False

    def note(*args: Any) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _optimizer(
    optimizer: str | type, weight_decay: float, momentum: float, device: torch.device
) -> dict[str, Any]:
    """skorch's arguments for an optimizer: each takes momentum under its own name."""
    names = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    kind: Any = names[optimizer] if isinstance(optimizer, str) else optimizer
    if not issubclass(kind, torch.optim.Optimizer):
        raise ValueError(f"optimizer={kind!r} is no torch optimizer.")
    accepted = inspect.signature(kind).parameters
    options: dict[str, Any] = {"optimizer": kind}
    if kind in names.values() and device.type in ("cpu", "cuda"):
        options["optimizer__fused"] = True  # one pass over the parameters a step, not eight
    for name, value in (("weight_decay", weight_decay), ("momentum", momentum)):
        if name in accepted:
            options[f"optimizer__{name}"] = value
        elif name == "momentum" and "betas" in accepted:
            options["optimizer__betas"] = (momentum, 0.999)
        elif value:
            raise ValueError(f"{kind.__name__} takes no {name}; pass {name}=0.")
    return options
