"""Train in several processes: one a GPU, or one a part of the processors.

    accelerate launch --multi_gpu --num_processes 2 examples/several_processes.py
    torchrun --nproc_per_node 2 examples/several_processes.py

Without --data the faces are drawn. Every process trains on its share of each
batch; all of them end with the same network, and the first writes it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from skage import AgeBinner, BinnedAgeRegressor, VGG16Classifier
from skage.datasets import load_utkface, make_faces
from skage.metrics import mean_absolute_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of UTKFace")
    parser.add_argument("--weights", help="VGG16's, at least its convolutions")
    parser.add_argument("--trainable", default="classifier")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--cache", help="folder for activations, shared by the processes")
    parser.add_argument("--output", default="age.skage", help="model file")
    options = parser.parse_args()

    if options.data is None:
        faces = make_faces(400, image_size=options.image_size, random_state=0)
    else:
        faces = load_utkface(options.data)
    classifier = VGG16Classifier(
        weights=options.weights,
        trainable=options.trainable,
        hidden_layer_sizes=(256,),
        image_size=options.image_size,
        max_epochs=options.epochs,
        accelerate=True,
        feature_cache=options.cache,
        random_state=0,
    )
    model = BinnedAgeRegressor(classifier, AgeBinner(20)).fit(faces.data, faces.target)
    rank = os.environ.get("RANK", "0")
    mae = mean_absolute_error(faces.target, model.predict(faces.data))
    print(f"process {rank}: MAE on the training images {mae:.4f} years", flush=True)
    if rank == "0":
        model.save(options.output)


if __name__ == "__main__":
    main()
