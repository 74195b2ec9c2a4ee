from itertools import combinations

import numpy as np
import pytest

from skage._partition import balanced_cuts


def squares(counts, cuts):
    return sum(run.sum() ** 2 for run in np.split(counts, cuts))


@pytest.mark.parametrize("weighted", [False, True])
def test_no_partition_is_more_even(weighted):
    rng = np.random.default_rng(0)
    for _ in range(500):
        n_ages = rng.integers(1, 9)
        n_bins = rng.integers(1, n_ages + 1)
        counts = rng.exponential(5, n_ages) if weighted else rng.integers(1, 20, n_ages)
        cuts = balanced_cuts(counts, n_bins)
        assert len(cuts) == n_bins - 1
        assert (np.diff([0, *cuts, n_ages]) > 0).all()
        every = combinations(range(1, n_ages), n_bins - 1)
        best = min(squares(counts, list(other)) for other in every)
        assert squares(counts, cuts) == pytest.approx(best)
