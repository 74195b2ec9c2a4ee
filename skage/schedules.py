"""Learning-rate schedules for the `lr_schedule` of VGG16Classifier."""

from __future__ import annotations

import math
from numbers import Integral, Real

from sklearn.base import BaseEstimator

from ._sklearn import Interval

__all__ = ["OneCycle", "StepDecay"]


class StepDecay(BaseEstimator):
    """Multiply the learning rate by `gamma` every `step` epochs, as DEX does.

    Rothe et al. (ICCVW 2015, section 3) divide it by 10 every 10 epochs.

    Parameters
    ----------
    step : int, default=10
        Number of epochs between changes.

    gamma : float, default=0.1
        Factor by which the learning rate is multiplied.

    See Also
    --------
    OneCycle : Warm-up, then a smooth decay to zero.

    Examples
    --------
    >>> from skage.schedules import StepDecay
    >>> [StepDecay(step=2, gamma=0.5).factor(epoch, 6) for epoch in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    _parameter_constraints = {
        "step": [Interval(Integral, 1, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, step: int = 10, gamma: float = 0.1):
        self.step = step
        self.gamma = gamma

    def factor(self, epochs: float, max_epochs: int) -> float:
        """Return the factor on the initial learning rate.

        Parameters
        ----------
        epochs : float
            Epochs since the start of training; fractional within an epoch.
        max_epochs : int
            Total number of epochs.

        Returns
        -------
        factor : float
        """
        self._validate_params()
        return self.gamma ** (int(epochs) // self.step)


class OneCycle(BaseEstimator):
    """Warm up for a fraction of the training, then decay to zero, along half cosines.

    The schedule follows Smith and Topin (2019), "Super-convergence". The classifier's
    `lr` is the highest learning rate.

    Parameters
    ----------
    warmup : float, default=0.2
        Fraction of the epochs in which the learning rate rises.

    start : float, default=0.04
        Initial learning rate, as a fraction of the highest.

    See Also
    --------
    StepDecay : The schedule of DEX, and the default.

    Examples
    --------
    >>> from skage.schedules import OneCycle
    >>> [round(OneCycle().factor(epoch, 10), 2) for epoch in (0, 1, 2, 6, 10)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """

    _parameter_constraints = {
        "warmup": [Interval(Real, 0, 1, closed="neither")],
        "start": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, warmup: float = 0.2, start: float = 0.04):
        self.warmup = warmup
        self.start = start

    def factor(self, epochs: float, max_epochs: int) -> float:
        """Return the factor on the highest learning rate.

        Parameters
        ----------
        epochs : float
            Epochs since the start of training; fractional within an epoch.
        max_epochs : int
            Total number of epochs.

        Returns
        -------
        factor : float
        """
        self._validate_params()
        done = epochs / max_epochs
        if done < self.warmup:
            rise = 0.5 - 0.5 * math.cos(math.pi * done / self.warmup)
            return self.start + (1 - self.start) * rise
        return 0.5 + 0.5 * math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))
