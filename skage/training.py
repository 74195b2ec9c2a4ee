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

    def take(self, rows: np.ndarray) -> Targets:
        return Targets(**{name: values[rows] for name, values in self._fields()})

    def tensors(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {name: torch.from_numpy(values[rows]) for name, values in self._fields()}

    def _fields(self) -> list[tuple[str, np.ndarray]]:
        return [(name, values) for name, values in vars(self).items() if values is not None]


class Rows(Dataset):
    """Some rows of the activations and their targets.

    Parameters
    ----------
    activations : ndarray (n_rows, ...)
    rows : ndarray (n,), int
        Where in it the images stand.
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
        return self.activations.index_select(0, self.rows[chosen]), self.targets.tensors(chosen)


def _whole(batch: tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
    """A DataLoader's collate_fn for what is a batch already."""
    return batch


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
    rows: np.ndarray,
    targets: Targets,
    is_valid: np.ndarray,
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

    `rows` say where in `activations` the n images stand, `is_valid` which of
    them are held out; the others are trained on. `values` are the ages in years
    that stand for the classes. The optimizer's state is dropped, the history
    kept.
    """
    train = Rows(activations, rows[~is_valid], targets.take(~is_valid))
    valid = Rows(activations, rows[is_valid], targets.take(is_valid))

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
    sample = net.evaluation_step(train.__getitems__(list(range(min(len(train), 32)))))
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
        iterator_train__shuffle=True,
        iterator_train__collate_fn=_whole,
        iterator_valid__collate_fn=_whole,
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
