"""Training of the suffix with skorch."""

from __future__ import annotations

import contextlib
import copy
import inspect
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from skorch.utils import noop
from torch.utils.data import WeightedRandomSampler

from .callbacks import (
    AgeError,
    EpochBar,
    Schedule,
    StopIfDiverged,
    diverged,
    one_cycle,
    step,
)
from .checkpoint import Checkpoint
from .hardware import one_thread
from .losses import Criterion
from .net import Rows, SuffixNet, make_net, restore_net
from .network import Part
from .parallel import AcceleratedNet, SharedLoss
from .targets import Targets

# Parameters of a suffix that one thread trains about as fast as two: fits side by
# side then take a processor each.
_SMALL = 1_000_000
_PATIENCE = 5  # epochs without a better validation error, for early_stopping=True


def train_suffix(
    suffix: Part,
    activations: np.ndarray,
    rows: np.ndarray,
    targets: Targets,
    is_valid: np.ndarray,
    *,
    criterion: Criterion,
    optimizer: str | type,
    lr: float,
    lr_ratio: float | Mapping[str, float],
    weight_decay: float,
    momentum: float,
    batch_size: int,
    sampling: str,
    max_epochs: int,
    lr_schedule: str,
    lr_step: int | None,
    lr_gamma: float,
    early_stopping: bool | int,
    callbacks: list | None,
    checkpoint: Path | None,
    accelerator: Any,
    device: torch.device,
    precision: torch.dtype,
    verbose: int,
) -> SuffixNet:
    """Train `suffix` with skorch and return the net, fit for prediction only.

    `rows` (n, n_versions) say where in `activations` the images and their copies stand,
    `is_valid` (n,) which images are held out; the others are trained on. The optimizer's
    state is dropped, the history kept.
    """
    train = Rows(activations, rows[~is_valid], targets.take(~is_valid))
    valid = Rows(activations, rows[is_valid, :1], targets.take(is_valid))

    own: list[tuple[str, Callback]] = []
    options: dict[str, Any] = {}
    if sampling == "weighted":
        options["iterator_train__sampler"] = WeightedRandomSampler(
            train.targets.weight.tolist(), len(train)
        )
        options["iterator_train__shuffle"] = False
        train.targets = replace(train.targets, weight=np.ones_like(train.targets.weight))
    if accelerator is not None:
        own.append(("shared_loss", SharedLoss(accelerator)))
        # Unwrapped by skorch, the network could not take the best epoch's weights.
        options |= {
            "kind": AcceleratedNet,
            "accelerator": accelerator,
            "unwrap_after_train": False,
        }
    own.append(("diverged", StopIfDiverged()))
    in_years = targets.ages is not None and criterion.values is not None
    if in_years and criterion.values is not None:
        values = criterion.values.double().numpy()
        own.append(("age_error", AgeError(values, criterion.probabilities)))
    factor = None  # a scheduler among the user's callbacks may set the rates
    if lr_schedule == "one_cycle":
        factor = one_cycle(max_epochs)
    elif lr_step is not None:
        factor = step(lr_step, lr_gamma)
    own.append(("schedule", Schedule(factor)))
    stopper = None
    if early_stopping:
        is_flag = isinstance(early_stopping, bool | np.bool_)
        patience = _PATIENCE if is_flag else int(early_stopping)
        monitor = "valid_mae" if in_years else "valid_loss"
        stopper = EarlyStopping(monitor, patience=patience, load_best=True, sink=noop)
        own.append(("early_stopping", stopper))
    if checkpoint is not None:
        own.append(("checkpoint", Checkpoint(checkpoint, stopper)))
    if verbose == 1:
        own.append(("bar", EpochBar()))

    net = make_net(
        suffix,
        criterion,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        train_split=predefined_split(valid) if len(valid) else None,
        callbacks=[*own, *copy.deepcopy(list(callbacks or ()))],
        callbacks__print_log__sink=print if verbose > 1 else noop,
        device=str(device),
        autocast=precision if precision != torch.float32 else None,
        verbose=verbose,
        **options,
        optimizer__param_groups=_param_groups(suffix, lr, lr_ratio),
        **_optimizer(optimizer, weight_decay, momentum, device),
    )
    n_parameters = sum(parameter.numel() for parameter in suffix.parameters())
    with _ctrl_c_raises(), one_thread(if_true=n_parameters <= _SMALL):
        net.fit(train, None)
    # The last steps of all come after the last loss.
    sample = net.evaluation_step(train.__getitems__(list(range(min(len(train), 32)))))
    if not sample.isfinite().all():
        raise diverged(net)
    trained = restore_net(suffix, criterion)
    trained.history = net.history
    return trained


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


def _param_groups(
    suffix: Part, lr: float, ratio: float | Mapping[str, float]
) -> list[tuple[str, dict[str, float]]]:
    """skorch's groups of parameters whose learning rate is not `lr`."""
    if isinstance(ratio, Mapping):
        rates = [(layer, ratio.get(block, 1.0)) for layer, block in suffix.blocks.items()]
    else:
        rates = [(layer, float(ratio)) for layer in suffix.pretrained]
    return [(f"{layer}.*", {"lr": lr * rate}) for layer, rate in rates if rate != 1]


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
