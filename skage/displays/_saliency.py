"""SaliencyDisplay: the parts of a face that a predicted age comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image

from .._images.reading import check_images
from .._unwrap import unwrap
from ._axes import BLACK, new_axes
from ._occlusion import occlusion


class SaliencyDisplay:
    """Map of the parts of an image that make the predicted age higher or lower.

    Warm colours and solid contours make it higher, cold colours and dashed contours lower.
    Create it with `from_estimator`.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        The image.
    heat : ndarray of shape (n_rows, n_columns)
        How much each part of the image makes the age higher; it is stretched over the image.
    label : str
        What the heat is, and its unit.
    age : float, default=None
        Predicted age in years, for the title.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure
    """

    def __init__(self, pixels: np.ndarray, heat: np.ndarray, label: str, age: float | None = None):
        self.pixels = pixels
        self.heat = heat
        self.label = label
        self.age = age

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: Any,
        *,
        method: str = "occlusion",
        patch: float = 0.25,
        n_steps: int = 10,
        ax: Axes | None = None,
    ) -> SaliencyDisplay:
        """Find the parts of an image that its predicted age comes from.

        For a Pipeline, the image is shown as its last step sees it: with a `FaceCropper`
        before it, the crop.

        Parameters
        ----------
        estimator : estimator of ages from images
            Fitted. It may be the last step of a Pipeline, or inside a search.
        image : path, PIL image or array
        method : {"occlusion", "grad_cam"}, default="occlusion"
            "occlusion" covers one part of the image after another with its mean colour, and
            shows by how many years the predicted age falls (Zeiler and Fergus, ECCV 2014,
            section 4.2). It works for any estimator of ages from images. "grad_cam" weights
            the last feature map by the gradient of the expected age (Selvaraju et al., ICCV
            2017), for BinnedAgeRegressor with VGG16Classifier. It is coarse, has no unit, and
            takes one pass through the network. It needs captum:
            ``pip install 'skage[explain]'``.
        patch : float, default=0.25
            Side of the part that is covered, as a fraction of the image's shorter side.
        n_steps : int, default=10
            Positions of the part in each direction, so that n_steps ** 2 images are
            predicted.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : SaliencyDisplay

        Raises
        ------
        ImportError
            If captum is needed but not installed.
        ValueError
            If a parameter is out of range, the image has no prediction, or the estimator has
            no network for "grad_cam".
        """
        if not 0 < patch <= 1 or n_steps < 1 / patch:
            raise ValueError(
                f"patch={patch!r} and n_steps={n_steps!r} do not cover the image. Pass a fraction "
                "of its side, and at least 1 / patch steps."
            )
        model, shown = unwrap(estimator, check_images([image]))
        if method == "occlusion":
            pixels, heat, age = occlusion(model, shown[0], patch, n_steps)
            return cls(pixels, heat, "fall of the age if covered (years)", age).plot(ax=ax)
        if method != "grad_cam":
            raise ValueError(f"method={method!r} is unknown. Pass 'occlusion' or 'grad_cam'.")
        try:
            from ._grad_cam import grad_cam
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("captum"):
                raise
            raise ImportError(
                "method='grad_cam' needs captum. Install it with: pip install 'skage[explain]'. "
                "method='occlusion' works without it."
            ) from error
        pixels, heat = grad_cam(model, shown[0])
        age = float(model.predict(shown)[0])
        return cls(pixels, heat, "makes the age higher (relative)", age).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> SaliencyDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : SaliencyDisplay
        """
        self.ax_ = ax = new_axes(size=(4.2, 3.4))[0] if ax is None else ax
        self.figure_ = ax.figure
        height, width = self.pixels.shape[:2]
        resample = Image.Resampling.BICUBIC
        heat = np.asarray(
            Image.fromarray(self.heat.astype(np.float32)).resize((width, height), resample)
        )
        top = float(np.abs(self.heat).max()) or 1.0
        grey = np.asarray(Image.fromarray(self.pixels).convert("L"))
        ax.imshow(grey, cmap="gray", vmin=-80, vmax=255)
        norm = Normalize(-top, top)
        ax.imshow(heat, cmap="RdBu_r", norm=norm, alpha=0.5)
        if heat.any():
            levels = [-0.75 * top, -0.4 * top, 0.4 * top, 0.75 * top]
            ax.contour(heat, levels, colors=BLACK, linewidths=0.9)  # dashed below 0
        opaque = ScalarMappable(norm, "RdBu_r")
        ax.figure.colorbar(opaque, ax=ax, label=self.label, shrink=0.85)
        if self.age is not None:
            ax.set_title(f"predicted {self.age:.0f} years")
        ax.set_axis_off()
        return self
