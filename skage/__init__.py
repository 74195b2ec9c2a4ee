"""Age from face images with scikit-learn estimators (DEX, Rothe et al., IJCV 2016)."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        augment,
        datasets,
        displays,
        evaluation,
        images,
        losses,
        metrics,
        presets,
        schedules,
        splits,
    )
    from ._memory import clear_memory
    from ._models.card import ModelCard, read_card
    from ._models.dex import load_dex
    from ._models.load import load
    from ._models.save import save
    from ._models.zero_shot import load_age_network
    from .binning import AgeBinner
    from .calibration import CalibratedAgeRegressor
    from .classifier import VGG16Classifier
    from .decision import AgeCheck
    from .embedding import EmbeddingClassifier
    from .ensemble import AgeEnsemble
    from .evaluation import compare, evaluate
    from .faces import FaceCropper
    from .preprocessing import Preprocessing
    from .regressor import BinnedAgeRegressor
    from .runtime import Runtime

__version__ = "0.1.0"
__all__ = [
    "AgeBinner",
    "AgeCheck",
    "AgeEnsemble",
    "BinnedAgeRegressor",
    "CalibratedAgeRegressor",
    "EmbeddingClassifier",
    "FaceCropper",
    "ModelCard",
    "Preprocessing",
    "Runtime",
    "VGG16Classifier",
    "augment",
    "clear_memory",
    "compare",
    "datasets",
    "displays",
    "evaluate",
    "evaluation",
    "images",
    "load",
    "load_age_network",
    "load_dex",
    "losses",
    "metrics",
    "presets",
    "read_card",
    "save",
    "schedules",
    "splits",
]

# Large tensors in large pages of memory, where the system has them: fresh memory costs a
# sixth to a quarter of VGG's time otherwise. torch reads this when it makes its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# Names are imported on first use: `import skage` must not wait for torch.
_HOME = {
    "AgeBinner": "binning",
    "AgeCheck": "decision",
    "AgeEnsemble": "ensemble",
    "BinnedAgeRegressor": "regressor",
    "CalibratedAgeRegressor": "calibration",
    "EmbeddingClassifier": "embedding",
    "FaceCropper": "faces",
    "Preprocessing": "preprocessing",
    "Runtime": "runtime",
    "VGG16Classifier": "classifier",
    "ModelCard": "_models.card",
    "clear_memory": "_memory",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "load": "_models.load",
    "load_age_network": "_models.zero_shot",
    "load_dex": "_models.dex",
    "read_card": "_models.card",
    "save": "_models.save",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOME.get(name, name)}")
    except AttributeError as error:  # Python would take it for a name that is not there
        hint = "; run Python without -OO, since skorch needs docstrings" * (sys.flags.optimize > 1)
        raise ImportError(f"skage.{name} cannot be imported: {error}{hint}.") from error
    return getattr(module, name) if name in _HOME else module


def __dir__() -> list[str]:
    return __all__
