"""The state of a training in a file, from which it goes on after a kill."""

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
from .._networks.vgg import VGGLayers, digest

_N_CHECKSUM = 32  # bytes of SHA-256, before what torch wrote
_EVERY = 60.0  # seconds at least between two writes


class FitFiles:
    """The files of one fit in a folder, one for each network.

    Parameters
    ----------
    folder : path or None
        Made if it is missing; None keeps no files.
    """

    def __init__(self, folder: str | os.PathLike | None):
        self.folder = None if folder is None else Path(resolve_path(folder, "checkpoint"))
        self.files: list[Path] = []

    def file(self, head: VGGLayers, *facts: Any) -> Path | None:
        """The file of a training that begins with `head`, and with these facts."""
        if self.folder is None:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ValueError(
                f"checkpoint={os.fspath(self.folder)!r} is a file. Pass a folder."
            ) from None
        name = training_name(digest(head), torch.get_rng_state().numpy(), *facts)
        self.files.append(self.folder / f"{name}.training")
        return self.files[-1]

    def remove(self) -> None:
        """Remove all of them: the fit has ended."""
        for file in self.files:
            file.unlink(missing_ok=True)


class Checkpoint(Callback):
    """Go on from the file if there is one, and write it as epochs end.

    After the callbacks whose state it restores, which begin afresh when training
    begins. Random generators are kept too, so that a training that was killed ends
    with the bits of one that was not.

    Parameters
    ----------
    path : path
        Read without running code in it, whoever wrote it.
    early_stopping : EarlyStopping or None
        The one of this net.
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
        except Exception as error:  # torch tells of other versions' files in many ways
            warnings.warn(
                f"{self.path} is damaged, so this training begins anew: {error}", stacklevel=2
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
        if time.monotonic() - self.written_ > _EVERY:
            self._write(net, finished=False)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        net.max_epochs = self.max_epochs_
        # skorch comes here after Ctrl-C too, in the middle of an epoch.
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
    """The state in a file of a `Checkpoint`; no code in it runs.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    with open(path, "rb") as file:
        checksum, content = file.read(_N_CHECKSUM), file.read()
    if hashlib.sha256(content).digest() != checksum:  # torch reads over much damage
        raise ValueError("its checksum is not that of its content")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return []  # of batches, which nothing reads once the epoch has ended
    return value.item() if isinstance(value, np.generic) else value
