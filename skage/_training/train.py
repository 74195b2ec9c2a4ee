"""Training of the head with skorch."""

from __future__ import annotations

import contextlib
import copy
import inspect
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from skorch.utils import noop

from .._activations.pool import release_pages
from .._activations.projection import Projection
from .._hardware import one_thread
from .._networks.layers import Layers
from ..schedules import OneCycle, StepDecay
from .callbacks import AgeError, EpochBar, RaiseOnDivergence, Schedule, divergence_error
from .checkpoint import Checkpoint
from .criterion import Criterion
from .net import ActivationDataset, HeadNet, make_net, restore_net
from .targets import Targets

# One thread trains a head of at most this many parameters about as fast as two, which
# leaves the other processors to parallel fits.
_MAX_SINGLE_THREAD = 1_000_000
_PATIENCE = 5  # epochs without improvement, for early_stopping=True


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; see the parameters of `VGG16Classifier`."""

    n_components: int | None
    optimizer: Any
    lr: float
    lr_ratio: float | Mapping[str, float]
    weight_decay: float
    batch_size: int
    max_epochs: int
    schedule: StepDecay | OneCycle | None
    early_stopping: bool | int
    precision: torch.dtype
    device: torch.device
    callbacks: Sequence[Any] = ()
    verbose: int = 0

    @property
    def facts(self) -> tuple[Any, ...]:
        """Everything but the data that determines the weights; part of a checkpoint's name."""
        left_out = ("callbacks", "verbose", "device")
        return tuple(getattr(self, f.name) for f in fields(self) if f.name not in left_out)


@dataclass
class TrainingData:
    """What a network is trained on.

    Parameters
    ----------
    activations : ndarray (n_rows, ...)
    rows : ndarray (n, n_versions), int
        Row in `activations` of each image and its copies.
    targets : Targets (n)
    is_valid : ndarray (n,), bool
        Which images are held out for validation.
    keys : list of bytes
        Keys that identify the activations.
    projection : Projection or None
        The projection that reduced the activations.
    """

    activations: np.ndarray
    rows: np.ndarray
    targets: Targets
    is_valid: np.ndarray
    keys: Sequence[bytes] = ()
    projection: Projection | None = None

    @property
    def facts(self) -> tuple[Any, ...]:
        """Everything that identifies the data; part of a checkpoint's name."""
        return (*self.keys, *vars(self.targets).values(), self.is_valid)

    def release(self, module: Layers) -> None:
        """Merge the projection into the trained head, and release memory."""
        if self.projection is not None:
            self.projection.merge_into(module.classifier)
            release_pages(self.projection.components)
        release_pages(self.activations)


def train(
    head: Layers,
    data: TrainingData,
    criterion: Criterion,
    config: TrainingConfig,
    checkpoint: Path | None = None,
) -> HeadNet:
    """Train `head` with skorch, and return a net for prediction only.

    The net has the history, but not the optimizer's state. With a `checkpoint` file,
    an interrupted training resumes from it.

    Raises
    ------
    ValueError
        If training diverges, or the optimizer is not valid.
    """
    targets, is_valid = data.targets, data.is_valid
    training = ActivationDataset(data.activations, data.rows[~is_valid], targets.take(~is_valid))
    valid = ActivationDataset(data.activations, data.rows[is_valid, :1], targets.take(is_valid))

    own: list[tuple[str, Callback]] = [("divergence", RaiseOnDivergence())]
    in_years = targets.ages is not None and criterion.values is not None
    if in_years and criterion.values is not None:
        values = criterion.values.double().numpy()
        own.append(("age_error", AgeError(values, criterion.probabilities)))
    own.append(("schedule", Schedule(config.schedule, config.max_epochs)))
    stopper = None
    if config.early_stopping:
        is_flag = isinstance(config.early_stopping, bool | np.bool_)
        patience = _PATIENCE if is_flag else int(config.early_stopping)
        monitor = "valid_mae" if in_years else "valid_loss"
        stopper = EarlyStopping(monitor, patience=patience, load_best=True, sink=noop)
        own.append(("early_stopping", stopper))
    if checkpoint is not None:
        own.append(("checkpoint", Checkpoint(checkpoint, stopper)))
    if config.verbose == 1:
        own.append(("bar", EpochBar()))

    net = make_net(
        head,
        criterion,
        lr=config.lr,
        max_epochs=config.max_epochs,
        batch_size=config.batch_size,
        train_split=predefined_split(valid) if len(valid) else None,
        callbacks=[*own, *copy.deepcopy(list(config.callbacks))],
        callbacks__print_log__sink=print if config.verbose > 1 else noop,
        device=str(config.device),
        autocast=config.precision if config.precision != torch.float32 else None,
        verbose=config.verbose,
        optimizer__param_groups=_param_groups(head, config.lr, config.lr_ratio),
        **_optimizer_options(config),
    )
    n_parameters = sum(parameter.numel() for parameter in head.parameters())
    with _ctrl_c_raises(), one_thread(if_true=n_parameters <= _MAX_SINGLE_THREAD):
        net.fit(training, None)
    # The last step may diverge after the last loss was computed.
    sample = net.evaluation_step(training.__getitems__(list(range(min(len(training), 32)))))
    if not sample.isfinite().all():
        raise divergence_error(net, "the network's outputs are")
    trained = restore_net(head, criterion)
    trained.history = net.history
    return trained


@contextlib.contextmanager
def _ctrl_c_raises() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, where skorch would only stop training early."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    pressed = False

    def handle(*args: Any) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _param_groups(
    head: Layers, lr: float, ratio: float | Mapping[str, float]
) -> list[tuple[str, dict[str, float]]]:
    """Return skorch's parameter groups, for layers whose learning rate is not `lr`."""
    if isinstance(ratio, Mapping):
        rates = [(layer, ratio.get(block, 1.0)) for layer, block in head.blocks.items()]
    else:
        rates = [(layer, float(ratio)) for layer in head.pretrained]
    return [(f"{layer}.*", {"lr": lr * rate}) for layer, rate in rates if rate != 1]


def _optimizer_options(config: TrainingConfig) -> dict[str, Any]:
    """Return skorch's arguments for the optimizer."""
    names = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    factory: Any = names.get(config.optimizer, config.optimizer)
    optimizer = factory.func if isinstance(factory, partial) else factory
    if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
        raise ValueError(
            f"optimizer={config.optimizer!r} is not a torch optimizer class. Pass 'sgd', 'adam', "
            "'adamw' or a class such as torch.optim.RMSprop."
        )
    options: dict[str, Any] = {"optimizer": factory}
    if config.optimizer == "sgd":
        options["optimizer__momentum"] = 0.9
    if optimizer in names.values() and config.device.type in ("cpu", "cuda"):
        options["optimizer__fused"] = True  # one pass over the parameters in each step, not eight
    if "weight_decay" in inspect.signature(optimizer).parameters:
        options["optimizer__weight_decay"] = config.weight_decay
    elif config.weight_decay:
        raise ValueError(f"{optimizer.__name__} has no weight_decay. Pass weight_decay=0.")
    return options
