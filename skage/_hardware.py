"""The device, the precision and the number of threads of a computation."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Iterator

import torch

from ._memory import at_fork, first_time

_N_TIMED = 8  # convolutions
_CLEARLY = 1.5  # times as fast

_was_limited = False  # whether a fork limited this process to one thread


def _limit_forked_process() -> None:
    """Limit torch to one thread: its others do not exist in a forked process.

    The next parallel loop would wait for them forever.
    """
    global _was_limited
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _was_limited = True


at_fork(_limit_forked_process)


def warn_if_forked() -> None:
    """Warn once if a fork limited this process to one thread."""
    if _was_limited and first_time("forked"):
        warnings.warn(
            "torch cannot use several threads in a forked process, so this process uses one. To "
            "use several, start processes with multiprocessing.get_context('spawn'). To silence "
            "this warning, call torch.set_num_threads(1) before forking.",
            stacklevel=3,
        )


@contextlib.contextmanager
def one_thread(if_true: bool = True) -> Iterator[None]:
    """Let torch compute on one thread, so that sums do not depend on the number of threads.

    The number of threads is a setting of the whole process: callers must take turns.
    """
    n_threads = torch.get_num_threads()
    if if_true:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def resolve_device(device: str) -> torch.device:
    """Return the torch device of a name; "auto" stands for a GPU if there is one.

    Raises
    ------
    ValueError
        If the name is unknown or this machine does not have the device.
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
    """Return the compute dtype; "auto" is bfloat16 where it is faster than float32.

    On a CPU with matrix units (AMX) it always is. Processors with AVX-512's instructions for
    bfloat16 alone differ: VGG16 was measured at 6.8 against 3.1 images/s on a core of one of
    them, and at 2.7 against 4.7 on another. A convolution is therefore timed there, once per
    process.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and _cpu_prefers_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return getattr(torch, precision)


@functools.cache
def _cpu_prefers_bfloat16() -> bool:
    if torch.cpu._is_amx_tile_supported() or not torch.cpu._is_avx512_bf16_supported():
        return torch.cpu._is_amx_tile_supported()
    seconds = {dtype: _seconds_of_convolution(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.float32] > _CLEARLY * seconds[torch.bfloat16]


def _seconds_of_convolution(dtype: torch.dtype) -> float:
    """The shortest of several times of one thread, which other work affects least."""
    layer = torch.nn.functional.conv2d
    x = torch.ones(2, 128, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(128, 128, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode(), one_thread():
        for _ in range(_N_TIMED):
            start = time.thread_time()
            layer(x, weight, padding=1)
            times.append(time.thread_time() - start)
    return min(times)
