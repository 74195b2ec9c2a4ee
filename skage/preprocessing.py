"""How images are fed to a network that others trained, as the value of `preprocessing`."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, clone

from ._sklearn import Interval, StrOptions

__all__ = ["Preprocessing"]


class Preprocessing(BaseEstimator):
    """Size, order of the channels, mean and scale of the pixels that a network expects.

    A pixel x, from 0 to 255, is fed as ``(x - mean) / std``.

    Parameters
    ----------
    size : int, default=None
        Side in pixels, 8 to 4,096, to which images are resized, whatever their
        proportions. None takes the size that the network states.

    channels : {"rgb", "bgr"}, default="rgb"
        Order of the channels.

    mean : float or sequence of 3 floats, default=0.0
        Subtracted from the pixels, one number or one for each channel in the order of
        `channels`.

    std : float or sequence of 3 floats, default=1.0
        Divides the pixels after that.

    See Also
    --------
    EmbeddingClassifier : Takes it as `preprocessing`.

    Examples
    --------
    Common conventions:

    >>> from skage import Preprocessing
    >>> zero_to_one = Preprocessing(mean=0, std=255)
    >>> arcface = Preprocessing(size=112, mean=127.5, std=127.5)
    >>> caffe = Preprocessing(size=224, channels="bgr", mean=(103.939, 116.779, 123.68))
    >>> itself = Preprocessing(mean=0, std=1)  # the network normalises its input
    """

    _parameter_constraints = {
        "size": [Interval(Integral, 8, 4096, closed="both"), None],
        "channels": [StrOptions({"rgb", "bgr"})],
        "mean": [Real, "array-like"],
        "std": [Real, "array-like"],
    }

    def __init__(self, *, size=None, channels="rgb", mean=0.0, std=1.0):
        self.size = size
        self.channels = channels
        self.mean = mean
        self.std = std

    def _completed(self, size: int | None) -> Preprocessing:
        """Return these settings with a size, where they have none."""
        return self if self.size is not None else clone(self).set_params(size=size)

    def _numbers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Check the parameters, and return mean and standard deviation of each channel."""
        self._validate_params()
        found = []
        for name in ("mean", "std"):
            given = getattr(self, name)
            values = np.asarray(given)
            is_numbers = values.shape in ((), (3,)) and values.dtype.kind in "iuf"
            if not is_numbers or not np.isfinite(values).all():
                raise ValueError(f"{name}={given!r} must be a number, or three: one per channel.")
            if name == "std" and (values <= 0).any():
                raise ValueError(f"std={given!r} must be above 0. Pass 1 to leave the scale.")
            found.append(tuple(float(v) for v in np.broadcast_to(values, 3)))
        return found[0], found[1]
