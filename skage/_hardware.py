"""Which device to compute on, and how precisely."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch

from ._memory import at_fork, first_time

_is_limited = False  # whether this process computes on one thread since it was forked


def _one_thread_in_child() -> None:
    """torch's threads are gone in a forked process, which would wait for them for ever."""
    global _is_limited
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _is_limited = True


at_fork(_one_thread_in_child)


def warn_if_forked() -> None:
    """Say once that this process computes on one thread, since it was forked."""
    if _is_limited and first_time("forked"):
        warnings.warn(
            "This process was forked, in which torch cannot compute on several threads: it goes "
            "on with one. Start processes by the method 'spawn' to use several "
            "(multiprocessing.get_context('spawn')), or call torch.set_num_threads(1) first.",
            stacklevel=3,
        )


@contextlib.contextmanager
def one_thread(if_true: bool = True) -> Iterator[None]:
    """Let torch compute on one thread: sums then come out the same, to the bit, everywhere.

    The number of threads is the process's; users of it must take turns.
    """
    n_threads = torch.get_num_threads()
    if if_true:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def resolve_device(device: str) -> torch.device:
    """Turn ``device`` into a torch device; "auto" takes a GPU where there is one.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device).item()
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} is not available here: {str(error).splitlines()[0]} "
            "Pass device='auto' or 'cpu'."
        ) from error


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Compute dtype: "auto" is bfloat16 where the hardware multiplies it, else float32."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return getattr(torch, precision)
