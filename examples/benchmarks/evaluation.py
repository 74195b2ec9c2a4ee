"""Time and memory of an evaluation of many predictions, with a bootstrap by person.

python examples/benchmarks/evaluation.py --images 500000 --resamples 1000
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

import skage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500_000)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    n = options.images
    y = rng.integers(1, 90, n).astype(float)
    predicted = np.clip(y + rng.normal(0, 5, n), 0, None)
    predicted[rng.random(n) < 0.01] = np.nan
    by = {"sex": rng.choice(["female", "male"], n), "region": rng.choice(list("abcdef"), n)}
    start = time.perf_counter()
    evaluation = skage.evaluate(
        predicted,
        y=y,
        groups=rng.integers(0, n // 3, n),
        by=by,
        limit=18,
        n_resamples=options.resamples,
        verbose=1,
    )
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(evaluation)
    print(
        f"{n:,} predictions of {n // 3:,} persons, {options.resamples:,} samples: {seconds:.0f} s, "
        f"{peak:.1f} GB at most"
    )


if __name__ == "__main__":
    main()
