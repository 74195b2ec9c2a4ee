"""Checkpoint files, from which a fit that was killed resumes."""

from __future__ import annotations

import hashlib
import io
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping

from .._files.paths import replacing, resolve_path
from .._keys import training_name
from .._networks.layers import Layers

_N_CHECKSUM = 32  # bytes; the file begins with the SHA-256 of the rest
_MIN_INTERVAL = 60.0  # seconds between two writes


class FitFiles:
    """The checkpoint files of one fit, one for each network.

    Parameters
    ----------
    folder : path or None
        Created if it does not exist; None writes no files.
    """

    def __init__(self, folder: str | os.PathLike | None):
        self.folder = None if folder is None else Path(resolve_path(folder, "checkpoint"))
        self.files: list[Path] = []

    def file(self, head: Layers, *facts: Any) -> Path | None:
        """Return the file of a training that starts from `head`, identified by these facts."""
        if self.folder is None:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ValueError(
                f"checkpoint={os.fspath(self.folder)!r} is a file. Pass the path of a folder."
            ) from None
        name = training_name(head.digest(), torch.get_rng_state().numpy(), *facts)
        self.files.append(self.folder / f"{name}.training")
        return self.files[-1]

    def remove(self) -> None:
        """Remove all files, once the fit has finished."""
        for file in self.files:
            file.unlink(missing_ok=True)


class Checkpoint(Callback):
    """Resume from the file if it exists, and write it at the ends of epochs.

    It must come after the callbacks whose state it restores, because they reset
    their state when training begins. The state of the random generators is saved
    too, so that a resumed training gives the same bits as an uninterrupted one.

    Parameters
    ----------
    path : path
        The checkpoint file. Reading it does not execute any code.
    early_stopping : EarlyStopping or None
        The early-stopping callback of the same net.
    """

    def __init__(self, path: Path, early_stopping: EarlyStopping | None):
        self.path, self.early_stopping = path, early_stopping

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.written_ = time.monotonic()
        self.max_epochs_ = net.max_epochs
        try:
            state = read_state(self.path)
        except FileNotFoundError:
            return
        except Exception as error:  # torch raises many types for files of other versions
            warnings.warn(
                f"The checkpoint {self.path} cannot be read ({error}). Training starts from the "
                "first epoch.",
                stacklevel=2,
            )
            return
        net.module_.load_state_dict(state["module"])
        net.history.extend(state["history"])
        net.max_epochs = 0 if state["finished"] else self.max_epochs_ - len(net.history)
        if state["finished"]:
            return
        net.optimizer_.load_state_dict(state["optimizer"])
        if self.early_stopping is not None:
            vars(self.early_stopping).update(state["early_stopping"])
        for name, best in state["best_scores"].items():
            dict(net.callbacks_)[name].best_score_ = best
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["random_cuda"])

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if time.monotonic() - self.written_ > _MIN_INTERVAL:
            self._write(net, finished=False)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        net.max_epochs = self.max_epochs_
        # skorch also calls this after Ctrl-C, in the middle of an epoch.
        stopped = self.early_stopping is not None and (
            self.early_stopping.misses_ == self.early_stopping.patience
        )
        if "lr" in net.history[-1] and (stopped or len(net.history) >= self.max_epochs_):
            self._write(net, finished=True)

    def _write(self, net: NeuralNet, finished: bool) -> None:
        state = {
            "finished": finished,
            "module": net.module_.state_dict(),
            "history": [{k: _plain(v) for k, v in row.items()} for row in net.history],
        }
        if not finished:
            state["optimizer"] = net.optimizer_.state_dict()
            state["random"] = torch.get_rng_state()
            state["best_scores"] = {
                name: _plain(callback.best_score_)
                for name, callback in net.callbacks_
                if hasattr(callback, "best_score_")
            }
            if torch.cuda.is_available():
                state["random_cuda"] = torch.cuda.get_rng_state_all()
            if self.early_stopping is not None:
                state["early_stopping"] = {
                    k: _plain(v) for k, v in vars(self.early_stopping).items() if k.endswith("_")
                }
        content = io.BytesIO()
        torch.save(state, content)
        with replacing(self.path) as file:
            file.write(hashlib.sha256(content.getbuffer()).digest())
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        self.written_ = time.monotonic()


def read_state(path: Path) -> dict[str, Any]:
    """Read the state that a `Checkpoint` wrote, without executing any code.

    Raises
    ------
    ValueError
        If the file is corrupted.
    """
    with open(path, "rb") as file:
        checksum, content = file.read(_N_CHECKSUM), file.read()
    # torch does not notice most corruption.
    if hashlib.sha256(content).digest() != checksum:
        raise ValueError("its checksum does not match its content")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return []  # the batches of an epoch, which are not read after its end
    return value.item() if isinstance(value, np.generic) else value
