"""Plots of a model, its training and its errors, with the interface of scikit-learn's displays.

Images without a prediction (NaN), such as those that cannot be read or show no face, are left
out of the plots of errors, and a note on the plot counts them.
"""

from ._bins import AgeBinsDisplay
from ._challenge_age import ChallengeAgeDisplay
from ._cumulative_score import CumulativeScoreDisplay
from ._error_by_age import ErrorByAgeDisplay
from ._faces import FacesDisplay
from ._grid_search import GridSearchDisplay
from ._interval_coverage import IntervalCoverageDisplay
from ._one_face import AgeDistributionDisplay
from ._predicted_age import PredictedAgeDisplay
from ._reliability import ReliabilityDisplay
from ._saliency import SaliencyDisplay
from ._training import TrainingHistoryDisplay
from ._worst_errors import WorstErrorsDisplay

__all__ = [
    "AgeBinsDisplay",
    "AgeDistributionDisplay",
    "ChallengeAgeDisplay",
    "CumulativeScoreDisplay",
    "ErrorByAgeDisplay",
    "FacesDisplay",
    "GridSearchDisplay",
    "IntervalCoverageDisplay",
    "PredictedAgeDisplay",
    "ReliabilityDisplay",
    "SaliencyDisplay",
    "TrainingHistoryDisplay",
    "WorstErrorsDisplay",
]
