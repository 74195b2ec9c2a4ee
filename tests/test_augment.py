import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone

from skage._activations.frozen import FrozenNetwork
from skage.augment import Jitter, views

from .conftest import tiny_model


def test_copies_are_the_same_each_time_and_differ_among_themselves(paths):
    first, again = Jitter(3).copies(paths, 32), Jitter(3).copies(paths[::-1], 32)
    assert [len(copies) for copies in first] == [len(paths)] * 3

    def pixels(copy):
        return np.asarray(copy.image())

    assert (pixels(first[1][0]) == pixels(again[1][-1])).all()
    assert pixels(first[0][0]).shape == (32, 32, 3)
    assert (pixels(first[0][0]) != pixels(first[1][0])).any()


def test_without_ranges_a_copy_is_the_image(paths):
    jitter = Jitter(1, rotation=0, shift=0, scale=0, mirror=False)
    copy = np.asarray(jitter.copies(paths, 32)[0][0].image())
    assert (copy == np.asarray(Image.open(paths[0]))).all()


def test_mirrored(paths):
    plain, mirrored = views(paths, 32, 1.0, "mirror")
    assert plain is paths
    assert (np.asarray(mirrored[0].image()) == np.asarray(Image.open(paths[0]))[:, ::-1]).all()


def test_a_crop_is_the_middle_of_a_larger_image():
    noise = Image.effect_noise((64, 64), 50).convert("RGB")
    (middle,) = views([noise], 56, 0.875, None)
    assert (np.asarray(middle[0].image()) == np.asarray(noise)[4:-4, 4:-4]).all()


def test_copies_of_a_crop_show_any_part():
    noise = Image.effect_noise((64, 64), 50).convert("RGB")
    jitter = Jitter(50, rotation=0, shift=0, scale=0, mirror=False)
    whole, corners = np.asarray(noise)[:, :, 0], set()
    for (copy,) in jitter.copies([noise], 56, 0.875):
        pixels = np.asarray(copy.image())[:, :, 0]
        corners |= {
            (y, x)
            for y in range(9)
            for x in range(9)
            if (whole[y : y + 56, x : x + 56] == pixels).all()
        }
    assert len(corners) > 30  # of 81, each inside the image


def test_ranges_are_kept():
    black = Image.new("RGB", (100, 100))
    black.paste("white", (45, 45, 55, 55))
    jitter = Jitter(200, rotation=0, shift=0.1, scale=0.2, mirror=False)
    centres, widths = [], []
    for copy in jitter.copies([black], 100):
        bright = np.asarray(copy[0].image())[:, :, 0] > 127
        x = np.flatnonzero(bright.any(axis=0))
        centres.append(x.mean() - 49.5)
        widths.append(len(x))
    assert 9 < np.abs(centres).max() <= 13.5
    assert 7 <= min(widths) < 9
    assert 11 < max(widths) <= 13


def test_copies_pass_the_frozen_layers_once(paths, faces, tmp_path, monkeypatch):
    passed = []
    original = FrozenNetwork.__call__
    monkeypatch.setattr(
        FrozenNetwork, "__call__", lambda self, x: passed.extend(x) or original(self, x)
    )
    model = tiny_model(3, augment=Jitter(2), feature_cache=tmp_path, validation_fraction=0.2)
    model.fit(paths, faces.target)
    assert len(passed) in (3 * len(paths), 3 * len(paths) + 1)  # with a blank one for the shape
    clone(model).fit(paths, faces.target)
    assert len(passed) <= 3 * len(paths) + 1
    plain = clone(model).set_params(classifier__augment=None).fit(paths, faces.target)
    assert (plain.predict(paths) != model.predict(paths)).any()


@pytest.mark.parametrize("options", [{"n_components": 8}, {"trainable": "all"}, {}])
def test_a_fit_with_copies_is_the_same_each_time(options, paths, faces):
    fits = [tiny_model(3, augment=Jitter(2), **options).fit(paths, faces.target) for _ in range(2)]
    assert (fits[0].predict(paths) == fits[1].predict(paths)).all()


def test_unreadable_images_have_no_copies(paths, faces, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    images, ages = [*paths[:3], tmp_path / "broken.jpg", *paths[3:]], [*faces.target, 20]
    model = tiny_model(3, augment=Jitter(2), on_error="skip")
    with pytest.warns(UserWarning, match="1 of 41 images"):
        model.fit(images, ages)


@pytest.mark.parametrize("augment", ["mirror", Jitter(2)])
def test_predictions_are_averaged_over_views(augment, paths, faces):
    model = tiny_model(3).fit(paths, faces.target)
    seen = views(paths, 32, 1.0, augment)
    expected = np.mean([model.predict_dist(view) for view in seen], axis=0)
    model.classifier_.test_augment = augment
    assert model.predict_dist(paths) == pytest.approx(expected)


@pytest.mark.parametrize("options", [{"n_copies": 0}, {"rotation": -1}, {"scale": 1}])
def test_wrong_ranges_are_refused(options, paths, faces):
    with pytest.raises(ValueError, match=next(iter(options))):
        tiny_model(3, augment=Jitter(**options)).fit(paths, faces.target)
