"""3 x 3 convolutions by Winograd's algorithm, for training on a CPU in float32.

`Conv2d` replaces torch's in all networks, and falls back to torch's convolution in
evaluation, on GPUs, in bfloat16 and for few channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016, section 4.2): 4 x 4 outputs from
# 6 x 6 inputs with 36 multiplications for each channel instead of 144.
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
# Both dimensions of an image at once: (36, 36), (36, 9), (16, 36).
_INPUT, _WEIGHT, _OUTPUT = (torch.kron(m, m) for m in (_INPUT, _WEIGHT, _OUTPUT))
_MAX_TILES = 256  # at a time, so that the transformed tiles stay in the caches
_MAX_COLUMNS = 4096  # at a time, for the same reason
_MIN_CHANNELS = 64  # with fewer channels the transforms cost more than they save


class Conv2d(nn.Conv2d):
    """A convolution that trains by Winograd's algorithm where this is faster.

    That is the case on a CPU, in float32, with 3 x 3 kernels and at least 64 channels.
    Evaluation uses torch's convolution, whose results do not depend on the rest of
    the batch.
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
    """Convolve images (n, h, w, c) with weights (k, c, 3, 3) to (n, h, w, k), padding 1."""

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
        for images, images_grad in zip(_split(x), _split(grad), strict=True):
            blocks = _padded_blocks(images_grad).permute(2, 4, 0, 1, 3, 5)
            products = (_OUTPUT.T @ blocks.reshape(_OUT**2, -1)).view(_IN**2, -1, k)
            of_weight.baddbmm_(products.transpose(1, 2), _tiles(images))
        of_weight = (_WEIGHT.T @ of_weight.view(_IN**2, -1)).view(3, 3, k, c).permute(2, 3, 0, 1)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _convolve(grad, weight.flip(2, 3).transpose(0, 1))
        return of_x, of_weight


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    n, height, width, _ = x.shape
    k, c = weight.shape[:2]
    transformed = _matmul(_WEIGHT, weight.permute(2, 3, 1, 0).reshape(9, -1)).view(_IN**2, c, k)
    y = x.new_empty(n, height, width, k)
    for images, out in zip(_split(x), _split(y), strict=True):
        products = torch.bmm(_tiles(images), transformed)
        rows, columns = _n_tiles(height), _n_tiles(width)
        blocks = (_OUTPUT @ products.view(_IN**2, -1)).view(_OUT, _OUT, -1, rows, columns, k)
        padded = blocks.permute(2, 3, 0, 4, 1, 5).reshape(-1, _OUT * rows, _OUT * columns, k)
        out.copy_(padded[:, :height, :width])
    return y


def _matmul(matrix: Tensor, x: Tensor) -> Tensor:
    """Return matrix @ x for a wide x, a block of columns at a time: a third faster."""
    y = x.new_empty(len(matrix), x.shape[1])
    for columns, out in zip(x.split(_MAX_COLUMNS, 1), y.split(_MAX_COLUMNS, 1), strict=True):
        torch.mm(matrix, columns, out=out)
    return y


def _split(x: Tensor) -> tuple[Tensor, ...]:
    """Split a batch into groups of images with at most _MAX_TILES tiles, or single images."""
    n_tiles = _n_tiles(x.shape[1]) * _n_tiles(x.shape[2])
    return x.split(max(_MAX_TILES // n_tiles, 1))


def _n_tiles(side: int) -> int:
    return -(-side // _OUT)


def _tiles(x: Tensor) -> Tensor:
    """Return the transformed tiles (36, n_tiles, c) of images (n, h, w, c) with padding 1."""
    n, height, width, c = x.shape
    rows, columns = _n_tiles(height), _n_tiles(width)
    beyond = _OUT * columns + 1 - width, _OUT * rows + 1 - height
    padded = nn.functional.pad(x, (0, 0, 1, beyond[0], 1, beyond[1]))
    tiles = padded.unfold(1, _IN, _OUT).unfold(2, _IN, _OUT).permute(4, 5, 0, 1, 2, 3)
    return _matmul(_INPUT, tiles.reshape(_IN**2, -1)).view(_IN**2, n * rows * columns, c)


def _padded_blocks(x: Tensor) -> Tensor:
    """Return images (n, h, w, k) as blocks (n, rows, 4, columns, 4, k), padded with zeros."""
    n, height, width, k = x.shape
    rows, columns = _n_tiles(height), _n_tiles(width)
    x = nn.functional.pad(x, (0, 0, 0, _OUT * columns - width, 0, _OUT * rows - height))
    return x.view(n, rows, _OUT, columns, _OUT, k)
