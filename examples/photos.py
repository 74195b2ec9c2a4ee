"""From uncropped photographs to ages: what finding the face first is worth.

    pip install 'skage[faces]'
    python examples/photos.py --data PHOTOS --train UTKFACE --weights vgg16_features.safetensors

With --network faceres.onnx (pip install 'skage[onnx]'), the frozen MobileNet of HSE-FaceRec
takes the place of VGG16.

PHOTOS is All-Age-Faces, or a part of it: one person a photo, the age in the file
name. The model is trained on UTKFace's aligned crops, once, with the settings that
the benchmarks found for them; nothing is tuned on the photos. Then each way of
cropping goes through Pipeline(FaceCropper, BinnedAgeRegressor). UTKFace has people
of all origins, All-Age-Faces mostly of Asian ones: the error is that of going from
one data set to another.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.pipeline import make_pipeline

from skage import (
    AgeBinner,
    BinnedAgeRegressor,
    FaceCropper,
    Preprocessing,
    Runtime,
    VGG16Classifier,
    presets,
)
from skage.datasets import load_aaf, load_utkface
from skage.metrics import cumulative_score, mean_absolute_error

MARGINS = [0, 0.2, 0.4, 0.6]


def face_model(network: str, cache: str) -> BinnedAgeRegressor:
    return presets.face(
        network,
        preprocessing=Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68)),
        output="global_pooling/Mean",
        n_members=3,
        runtime__feature_cache=cache,
        random_state=0,
    )


def vgg_model(weights: str, cache: str, image_size: int) -> BinnedAgeRegressor:
    classifier = VGG16Classifier(
        weights=weights,
        image_size=image_size,
        hidden_layer_sizes=(256,),
        n_components=768,
        lr=0.03,
        batch_size=128,
        max_epochs=20,
        validation_fraction=0,
        loss="cross_entropy",
        weight_decay=5e-4,
        test_augment=None,
        runtime=Runtime(feature_cache=cache),
        random_state=0,
    )
    return BinnedAgeRegressor(classifier, AgeBinner(20))


def error_of(ages: np.ndarray, predicted: np.ndarray) -> str:
    """MAE with its standard error, bias and CS@5 of what was predicted."""
    known = np.isfinite(predicted)
    miss = predicted[known] - ages[known]
    spread = np.abs(miss).std(ddof=1) / np.sqrt(len(miss))
    mae = mean_absolute_error(ages[known], predicted[known])
    within = cumulative_score(ages[known], predicted[known], 5)
    return f"{mae:.2f} +- {spread:.2f} | {miss.mean():+.2f} | {within:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of photos, as All-Age-Faces")
    parser.add_argument("--train", required=True, help="folder of UTKFace")
    parser.add_argument("--weights", default="imagenet", help="VGG16's, at least its convolutions")
    parser.add_argument("--network", help="ONNX file of HSE-FaceRec's MobileNet")
    parser.add_argument("--yunet", help="YuNet's model file; downloaded if not given")
    parser.add_argument("--cache", default="auto", help="folder for frozen activations")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    options = parser.parse_args()

    photos = load_aaf(options.data)
    ages = photos.target
    faces = load_utkface(options.train)
    if options.network:
        model = face_model(options.network, options.cache)
    else:
        model = vgg_model(options.weights, options.cache, options.size)
    model.fit(faces.data, faces.target)
    print(f"{len(ages)} photos of ages {ages.min():.0f} to {ages.max():.0f}")
    print("| way | no face | ms to find | images/s | MAE, years | bias | CS@5 |")
    print("|---|---:|---:|---:|---:|---:|---:|")

    def report(name: str, missing: str, find: str, rate: str, predicted: np.ndarray) -> None:
        found = error_of(ages, predicted)
        print(f"| {name} | {missing} | {find} | {rate} | {found} |", flush=True)

    median = np.full(len(ages), np.median(faces.target))
    report("UTKFace's median age for all", "", "", "", median)

    # Without a cache, from the files.
    model.set_params(classifier__runtime__feature_cache=None)
    model.classifier_.set_params(runtime__feature_cache=None)
    start = time.perf_counter()
    predicted = model.predict(photos.data)
    rate = len(ages) / (time.perf_counter() - start)
    report("whole photo", "", "", f"{rate:.1f}", predicted)

    for detector, keep_aspect in (("haar", False), ("yunet", False), ("yunet", True)):
        model_file = options.yunet if detector == "yunet" else None
        cropper = FaceCropper(detector, size=options.size, model_file=model_file)
        start = time.perf_counter()
        found = cropper.detect(photos.data, n_jobs=1)
        find = time.perf_counter() - start
        missing = sum(len(faces.boxes) == 0 for faces in found)
        for margin in MARGINS:
            cropper.set_params(margin=margin, keep_aspect=keep_aspect)
            start = time.perf_counter()
            predicted = make_pipeline(cropper, model).predict(photos.data)
            seconds = find + time.perf_counter() - start
            report(
                f"{detector}{', square' if keep_aspect else ''}, margin {margin}",
                str(missing),
                f"{1000 * find / len(ages):.1f}",
                f"{len(ages) / seconds:.1f}",
                predicted,
            )


if __name__ == "__main__":
    main()
