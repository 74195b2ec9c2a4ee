"""Convolutions that train faster on processors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016, section 4.2): 4 x 4 outputs
# of 6 x 6 inputs by 36 products a channel in place of 144.
_OUT, _IN = 4, 6
_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
_WEIGHT = (
    torch.tensor(
        [[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        dtype=torch.float32,
    )
    / 24
)
_OUTPUT = torch.tensor(
    [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    dtype=torch.float32,
)
# Both sides of an image at once: (36, 36), (36, 9), (16, 36).
_INPUT, _WEIGHT, _OUTPUT = (torch.kron(m, m) for m in (_INPUT, _WEIGHT, _OUTPUT))
_N_TILES = 256  # at a time, so that what they are made into stays in the caches
_N_COLUMNS = 4096  # likewise
_MIN_CHANNELS = 64  # fewer do not repay the transforms


class Conv2d(nn.Conv2d):
    """A convolution that trains by Winograd's algorithm where that is faster.

    That is on a processor, in float32, with kernels of 3 x 3. In evaluation it is
    torch's own, whose results do not depend on what else is in the batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        fast = (
            self.training
            and x.device.type == "cpu"
            and x.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and self.kernel_size == (3, 3)
            and min(self.in_channels, self.out_channels) >= _MIN_CHANNELS
        )
        if not fast:
            return super().forward(x)
        y: Tensor = _Winograd.apply(x.permute(0, 2, 3, 1), self.weight)
        return (y if self.bias is None else y + self.bias).permute(0, 3, 1, 2)


class _Winograd(torch.autograd.Function):
    """Images (n, h, w, c) and weights (k, c, 3, 3) -> (n, h, w, k), padded by a zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        k, c = weight.shape[:2]
        of_weight = x.new_zeros(_IN**2, k, c)
        for part, part_grad in zip(_parts(x), _parts(grad), strict=True):
            blocks = _whole_blocks(part_grad).permute(2, 4, 0, 1, 3, 5)
            products = (_OUTPUT.T @ blocks.reshape(_OUT**2, -1)).view(_IN**2, -1, k)
            of_weight.baddbmm_(products.transpose(1, 2), _tiles(part))
        of_weight = (_WEIGHT.T @ of_weight.view(_IN**2, -1)).view(3, 3, k, c).permute(2, 3, 0, 1)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _convolve(grad, weight.flip(2, 3).transpose(0, 1))
        return of_x, of_weight


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    n, height, width, _ = x.shape
    k, c = weight.shape[:2]
    transformed = _product(_WEIGHT, weight.permute(2, 3, 1, 0).reshape(9, -1)).view(_IN**2, c, k)
    y = x.new_empty(n, height, width, k)
    for part, out in zip(_parts(x), _parts(y), strict=True):
        products = torch.bmm(_tiles(part), transformed)
        rows, columns = _n_tiles(height), _n_tiles(width)
        blocks = (_OUTPUT @ products.view(_IN**2, -1)).view(_OUT, _OUT, -1, rows, columns, k)
        whole = blocks.permute(2, 3, 0, 4, 1, 5).reshape(-1, _OUT * rows, _OUT * columns, k)
        out.copy_(whole[:, :height, :width])
    return y


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """matrix @ x for a long x, in two thirds of the time: some columns at a time."""
    y = x.new_empty(len(matrix), x.shape[1])
    for columns, out in zip(x.split(_N_COLUMNS, 1), y.split(_N_COLUMNS, 1), strict=True):
        torch.mm(matrix, columns, out=out)
    return y


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    """Few images at a time."""
    n_tiles = _n_tiles(x.shape[1]) * _n_tiles(x.shape[2])
    return x.split(max(_N_TILES // n_tiles, 1))


def _n_tiles(side: int) -> int:
    return -(-side // _OUT)


def _tiles(x: Tensor) -> Tensor:
    """Transformed tiles of images (n, h, w, c), with a border of a zero: (36, n_tiles, c)."""
    n, height, width, c = x.shape
    rows, columns = _n_tiles(height), _n_tiles(width)
    beyond = _OUT * columns + 1 - width, _OUT * rows + 1 - height
    padded = nn.functional.pad(x, (0, 0, 1, beyond[0], 1, beyond[1]))
    tiles = padded.unfold(1, _IN, _OUT).unfold(2, _IN, _OUT).permute(4, 5, 0, 1, 2, 3)
    return _product(_INPUT, tiles.reshape(_IN**2, -1)).view(_IN**2, n * rows * columns, c)


def _whole_blocks(x: Tensor) -> Tensor:
    """Images (n, h, w, k) as blocks (n, rows, 4, columns, 4, k), filled up with zeros."""
    n, height, width, k = x.shape
    rows, columns = _n_tiles(height), _n_tiles(width)
    x = nn.functional.pad(x, (0, 0, 0, _OUT * columns - width, 0, _OUT * rows - height))
    return x.view(n, rows, _OUT, columns, _OUT, k)
