"""A grid search and the prediction of many images on a Dask cluster.

    pip install 'skage[dask]'
    python examples/dask_cluster.py --data UTKFACE --weights vgg16_features.safetensors

Starts a cluster of two processes on this machine; give --scheduler tcp://... to
use one that runs. Every machine needs the images at the same paths. The cache
of activations is shared by the workers of one machine, never by machines: name a
folder on a local disk, and each machine fills its own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import dask.bag
import numpy as np
from dask.distributed import Client, LocalCluster
from joblib import parallel_config
from PIL import Image
from sklearn.model_selection import GridSearchCV, GroupKFold

from skage import AgeBinner, BinnedAgeRegressor, Runtime, VGG16Classifier
from skage.datasets import load_utkface, make_faces

GRID = {"binner__n_bins": [5, 10], "classifier__lr": [3e-4, 1e-3]}


def predict(paths: list[str], model: BinnedAgeRegressor) -> np.ndarray:
    return model.predict(list(paths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of UTKFace; without it faces are drawn")
    parser.add_argument("--weights", help="VGG16's, at least its convolutions")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--cache", help="folder for activations")
    parser.add_argument("--scheduler", help="address of a running scheduler")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if options.data is None:
            faces = make_faces(120, image_size=options.image_size, random_state=0)
            paths = [f"{folder}/{i}.png" for i in range(len(faces.data))]
            for path, face in zip(paths, faces.data, strict=True):
                Image.fromarray(face).save(path)
        else:
            faces = load_utkface(options.data)
            paths = faces.data
        classifier = VGG16Classifier(
            weights=options.weights,
            hidden_layer_sizes=(64,),
            lr=1e-3,
            batch_size=64,
            n_components=None,
            test_augment=None,
            image_size=options.image_size,
            optimizer="adam",
            max_epochs=20,
            runtime=Runtime(feature_cache=options.cache or f"{folder}/cache"),
            random_state=0,
        )
        model = BinnedAgeRegressor(classifier, AgeBinner())
        search = GridSearchCV(model, GRID, scoring="neg_mean_absolute_error", cv=GroupKFold(2))

        cluster = options.scheduler or LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        )
        with Client(cluster) as client:
            # joblib's backend sends the fits of the search to the workers.
            with parallel_config(backend="dask"):
                search.fit(paths, faces.target, groups=faces.groups)
            n_workers = len(client.scheduler_info()["workers"])
            print(f"{n_workers} workers, best of {len(search.cv_results_['params'])} candidates:")
            print(f"  {search.best_params_}, MAE {-search.best_score_:.3f} years")

            # Batches of paths are predicted where a worker is free.
            fitted = client.scatter(search.best_estimator_, broadcast=True)
            bag = dask.bag.from_sequence(paths, npartitions=2 * n_workers)
            ages = bag.map_partitions(predict, model=fitted).compute()
        here = search.predict(paths)
        print(f"{len(ages)} ages; largest difference from one process:", end=" ")
        print(f"{np.abs(np.array(ages) - here).max():g} years")
        if options.scheduler is None:
            cluster.close()


if __name__ == "__main__":
    main()
