import hashlib
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from skage import FaceCropper, _memory, clear_memory
from skage._images import detectors
from skage._images.reading import ImageError
from skage.datasets import make_faces
from skage.faces import DEX_ANGLES, NoFaceError

from .conftest import tiny_model

#: YuNet's model, which is not ours to bring.
YUNET = os.environ.get("SKAGE_YUNET")


def red_square(pixels):
    """Faces are red here."""
    y, x = np.nonzero((pixels == (255, 0, 0)).all(axis=2))
    if not len(x):
        return []
    return [(x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1, 1.0)]


class Counting:
    """A detector that counts its calls."""

    def __init__(self):
        self.n_calls, self.lock = 0, threading.Lock()

    def __call__(self, pixels):
        with self.lock:
            self.n_calls += 1
        return red_square(pixels)


def scene(box, size=(60, 40), colour=(255, 0, 0)):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[:, :, 2] = np.arange(size[0])  # tells the columns apart
    left, top, width, height = box
    image[top : top + height, left : left + width] = colour
    return image


@pytest.fixture
def calls(monkeypatch):
    """Calls of the detector that ships with OpenCV, and nothing remembered."""
    made = []
    haar = detectors.DETECTORS["haar"]

    def counted(pixels, model):
        if pixels.any():  # rather than a trial
            made.append(pixels.shape)
        return haar(pixels, model)

    monkeypatch.setitem(detectors.DETECTORS, "haar", counted)
    clear_memory()
    return made


def test_detect_returns_boxes_scores_and_angles():
    found, none = FaceCropper(red_square).detect([scene((10, 5, 20, 16)), scene((0, 0, 0, 0))])
    assert found.boxes.tolist() == [[10, 5, 20, 16]]
    assert found.scores.tolist() == [1]
    assert found.angles.tolist() == [0]
    assert none.boxes.shape == (0, 4)


def test_the_box_is_widened_on_every_side():
    image = scene((20, 10, 20, 16))
    crop = FaceCropper(red_square, margin=0.25, size=64).transform([image])[0].image()
    expected = Image.fromarray(image[6:30, 15:45]).resize((64, 64), Image.Resampling.BILINEAR)
    assert (np.asarray(crop) == np.asarray(expected)).all()


def test_the_face_keeps_its_proportions_if_asked():
    image = scene((20, 10, 10, 20))
    cropper = FaceCropper(red_square, margin=0.25, keep_aspect=True, size=30)
    expected = image[5:35, 10:40]  # 20 pixels wide as high, and 5 more on each side
    assert (np.asarray(cropper.transform([image])[0]) == expected).all()


def test_beyond_the_image_its_last_pixels_are_repeated():
    image = scene((0, 30, 20, 10))
    crop = FaceCropper(red_square, margin=0.5, size=40).transform([image])[0]
    padded = np.pad(image, ((0, 5), (10, 0), (0, 0)), mode="edge")
    expected = Image.fromarray(padded[25:45, :40]).resize((40, 40), Image.Resampling.BILINEAR)
    assert (np.asarray(crop) == np.asarray(expected)).all()


@pytest.mark.parametrize("angle", [20, -35, 90, 180])
def test_a_turned_face_is_found_where_it_is_and_made_upright(angle):
    upright = Image.fromarray(scene((130, 90, 60, 80), (300, 260)))
    turned = upright.rotate(-angle, Image.Resampling.BICUBIC, expand=True)

    def only_upright(pixels):
        found = red_square(pixels)
        ok = found and abs(found[0][2] - 60) <= 4 and abs(found[0][3] - 80) <= 4
        return found if ok else []

    cropper = FaceCropper(only_upright, margin=0, size=60, angles=[angle])
    [found] = cropper.detect([turned])
    assert found.angles.tolist() == [angle]
    centre = found.boxes[0, :2] + found.boxes[0, 2:] / 2
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    offset = np.array([160 - 150, 130 - 130])  # of the face from the middle, upright
    expected = np.array(turned.size) / 2 + [offset[0] * cos, offset[0] * sin]
    assert np.abs(centre - expected).max() < 3
    crop = np.asarray(cropper.transform([turned])[0]).astype(int)
    assert np.abs(crop[6:-6, 6:-6] - (255, 0, 0)).mean() < 12


def test_the_angles_of_the_paper():
    assert sorted(DEX_ANGLES) == sorted([*range(-60, 61, 5), -90, 90, 180])
    detector = Counting()
    FaceCropper(detector, angles="dex").detect([scene((0, 0, 4, 4))])
    assert detector.n_calls == 28


def test_a_face_found_at_several_angles_is_one():
    square = scene((20, 10, 20, 20))
    detector = FaceCropper(red_square, angles=[0, 90, 180, -90])
    assert detector.detect([square])[0].angles.tolist() == [0]


def test_of_several_faces_the_strongest_or_the_largest():
    def two(pixels):
        return [(0, 0, 10, 10, 0.9), (20, 0, 30, 30, 0.5)]

    image = scene((0, 0, 10, 10))
    strongest, largest = (
        np.asarray(FaceCropper(two, margin=0, size=16, select=s).transform([image])[0])
        for s in ("strongest", "largest")
    )
    assert (strongest == (255, 0, 0)).all()
    assert (largest[:, :, 0] == 0).all()


def test_no_face(tmp_path):
    path = tmp_path / "empty street.png"
    Image.fromarray(scene((0, 0, 0, 0))).save(path)
    whole = FaceCropper(red_square, size=32).transform([path])[0].image()
    expected = Image.open(path).resize((32, 32), Image.Resampling.BILINEAR)
    assert (np.asarray(whole) == np.asarray(expected)).all()
    for on_no_face in ("raise", "nan"):
        crop = FaceCropper(red_square, on_no_face=on_no_face).transform([path, path])[1]
        with pytest.raises(NoFaceError, match=r"No face was found in .*empty street.png \(item 1"):
            crop.image()


def test_nan_leaves_an_image_without_a_face_out():
    images = [scene((5, 5, 10, 10), colour=(255, 0, 0)) for _ in range(6)]
    images[2] = scene((0, 0, 0, 0))
    ages = [10.0, 20, 30, 40, 50, 60]
    child = tiny_model(2, validation_fraction=0)  # the crops are alike
    model = make_pipeline(FaceCropper(red_square, on_no_face="nan"), child)
    with pytest.warns(UserWarning, match="1 of 6 images show no face and are left out of fit"):
        model.fit(images, ages)
    with pytest.warns(UserWarning, match="1 of 6 images .* get NaN"):
        assert np.isnan(model.predict(images)).tolist() == [False, False, True] + [False] * 3
    model.set_params(facecropper__on_no_face="raise")
    with pytest.raises(NoFaceError, match="item 2"):
        model.fit(images, ages)


def test_a_search_detects_each_face_once(paths, faces, calls, tmp_path):
    cropper = FaceCropper(size=32)
    model = make_pipeline(cropper, tiny_model(3, feature_cache=tmp_path))
    grid = {
        "binnedageregressor__classifier__lr": [0.01, 0.001],
        "binnedageregressor__classifier__image_size": [32, 40],
    }
    GridSearchCV(model, grid, cv=2).fit(paths[:16], faces.target[:16])
    assert len(calls) == 16


def test_a_search_calls_a_detector_of_ones_own_once_for_each_image(paths, faces):
    detector = Counting()
    model = make_pipeline(FaceCropper(detector, size=32), tiny_model(3))
    grid = {"binnedageregressor__classifier__lr": [0.01, 0.001]}
    GridSearchCV(model, grid, cv=2).fit(paths[:16], faces.target[:16])
    assert detector.n_calls == 16


def test_what_was_found_cannot_be_changed(paths):
    cropper = FaceCropper(red_square, size=32)
    image = [scene((10, 5, 20, 16))]
    cropper.detect(image)[0].boxes[:] = 0
    assert cropper.detect(image)[0].boxes.tolist() == [[10, 5, 20, 16]]


def test_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(_memory.faces, "max_entries", 2)
    detector = Counting()
    cropper = FaceCropper(detector)
    images = [scene((i, 0, 9, 9)) for i in range(4)]
    cropper.detect(images, n_jobs=1)
    cropper.detect(images[2:], n_jobs=1)
    assert detector.n_calls == 4
    cropper.detect(images[:1])
    assert detector.n_calls == 5


def test_whole_images_are_the_same_when_it_is_known_that_they_show_no_face(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "large.jpg"
    coarse = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    coarse.resize((1600, 1600)).save(path)
    crop = FaceCropper(red_square, size=48).transform([path])[0]
    assert (np.asarray(crop) == np.asarray(crop)).all()


def test_faces_are_kept_for_other_processes_and_days(paths, calls, tmp_path):
    cropper = FaceCropper(feature_cache=tmp_path)
    first = cropper.detect(paths)
    assert len(calls) == len(paths)
    clear_memory()  # as in another process
    again = cropper.detect(paths)
    assert len(calls) == len(paths)
    for a, b in zip(first, again, strict=True):
        assert (a.boxes == b.boxes).all()


def test_crops_of_other_settings_are_other_images(paths, tmp_path):
    paths = paths[:12]
    model = tiny_model(3, feature_cache=tmp_path)
    ages = np.arange(12) * 5.0
    wide = FaceCropper(size=32, margin=2).transform(paths)
    model.fit(wide, ages)
    tight = FaceCropper(size=32, margin=0).transform(paths)
    fresh = tiny_model(3).fit(wide, ages)
    other = r"Fit: .*margin of 2,.* Now: .*margin of 0,"
    with pytest.warns(UserWarning, match=other):
        assert (model.predict(tight) == fresh.predict(tight)).all()


def test_a_changed_callable_is_not_taken_for_the_old_one(tmp_path):
    image = scene((5, 5, 30, 30))
    model = tiny_model(2, feature_cache=tmp_path, validation_fraction=0)
    model.fit([image, image.T.copy().T[::-1]], [10, 50])
    boxes = (0, 0, 60, 40, 1.0), (30, 0, 30, 40, 1.0)
    with pytest.warns(UserWarning, match="Fit: images as they are"):
        ages = [
            model.predict(FaceCropper(lambda pixels, b=box: [b], margin=0).transform([image]))[0]
            for box in boxes
        ]
    assert ages[0] != ages[1]


def test_haar_finds_drawn_faces_in_scenes():
    scenes = make_faces(24, 240, random_state=1, scenes=True)
    found = FaceCropper("haar", angles=[0, -15, 15, -30, 30]).detect(list(scenes.data))
    hits = 0
    for detected, drawn in zip(found, scenes.faces, strict=True):
        centres = detected.boxes[:, :2] + detected.boxes[:, 2:] / 2
        centre = drawn.boxes[0, :2] + drawn.boxes[0, 2:] / 2
        near = np.abs(centres - centre).max(axis=1) < drawn.boxes[0, 2] / 3
        if near.any():
            hits += 1
            assert abs(detected.angles[near][0] - drawn.angles[0]) <= 30
    assert hits >= 8


def test_a_crop_of_a_scene_shows_its_face():
    scenes = make_faces(8, 240, random_state=3, scenes=True)

    def told(pixels):
        i = [np.array_equal(pixels, image) for image in scenes.data].index(True)
        return [(*scenes.faces[i].boxes[0], 1.0)]

    crops = FaceCropper(told, size=48, margin=0).transform(scenes.data)
    assert np.asarray(crops).shape == (8, 48, 48, 3)
    for crop, image, drawn in zip(crops, scenes.data, scenes.faces, strict=True):
        x, y, w, h = drawn.boxes[0].round().astype(int)
        face = image[max(y, 0) : y + h, max(x, 0) : x + w].mean(axis=(0, 1))
        assert np.abs(np.asarray(crop).mean(axis=(0, 1)) - face).max() < 12


def test_the_cropper_is_a_plain_estimator(paths):
    cropper = FaceCropper(margin=0.1)
    with pytest.warns(SkipTestWarning):
        check_estimator(cropper, on_fail="raise")
    assert clone(cropper).get_params() == cropper.get_params()
    crop = pickle.loads(pickle.dumps(cropper.fit(paths).transform(paths)[0]))
    assert (np.asarray(crop) == np.asarray(cropper.transform(paths)[0])).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "mtcnn"}, "'detector' parameter"),
        ({"margin": -1}, "'margin' parameter"),
        ({"angles": []}, "angles"),
        ({"angles": [np.nan]}, "angles"),
        ({"angles": ["left"]}, "angles"),
        ({"select": "first"}, "'select' parameter"),
        ({"detector": "yunet", "model_file": "missing.onnx"}, ".*missing.onnx' does not exist"),
        ({"detector": "yunet", "model_file": ""}, "model_file='' is empty"),
        ({"feature_cache": ""}, "feature_cache='' is empty"),
    ],
)
def test_wrong_parameters_are_refused(paths, options, message):
    with pytest.raises(ValueError, match=message):
        FaceCropper(**options).fit(paths)


def test_a_file_that_is_not_a_yunet_model_is_refused(paths, tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ValueError, match=r"model_file='.*text.onnx' is not a YuNet model"):
        FaceCropper("yunet", model_file=tmp_path / "text.onnx").fit(paths)


def test_the_model_is_downloaded_once_and_its_checksum_compared(tmp_path, monkeypatch):
    source = tmp_path / "published.onnx"
    source.write_bytes(b"another file")
    monkeypatch.setattr(detectors, "_YUNET_URL", source.as_uri())
    monkeypatch.setattr(detectors, "resolve_folder", lambda _: tmp_path / "cache")
    with pytest.raises(OSError, match="Pass its path as model_file, or detector='haar'"):
        detectors.yunet_file(None)
    assert not (tmp_path / "cache" / "published.onnx").exists()
    checksum = hashlib.sha256(b"another file").hexdigest()
    monkeypatch.setattr(detectors, "_YUNET_SHA256", checksum)
    assert detectors.yunet_file(None) == (str(tmp_path / "cache" / "published.onnx"), checksum)
    source.unlink()
    assert detectors.yunet_file(None)[1] == checksum


def test_a_detector_that_returns_something_else_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 4\); expected finite numbers \(n_faces, 5\)"):
        FaceCropper(lambda pixels: [(0, 0, 1, 1)]).detect([scene((0, 0, 1, 1))])


def test_a_failing_detector_says_of_which_image(paths):
    def fails(pixels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        FaceCropper(fails).transform(paths)[3].image()
    assert any(paths[3] in note for note in raised.value.__notes__)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (20, 31), (33, 200)])
def test_small_and_narrow_images(shape):
    for detector in ("haar", *(["yunet"] if YUNET else [])):
        found = FaceCropper(detector, model_file=YUNET).detect([np.zeros(shape, np.uint8)])
        assert len(found[0].boxes) == 0


@pytest.mark.skipif(not YUNET, reason="SKAGE_YUNET names no model file")
def test_yunet_finds_drawn_faces():
    scenes = make_faces(24, 240, random_state=1, scenes=True)
    found = FaceCropper("yunet", model_file=YUNET, angles=[0, -25, 25]).detect(scenes.data)
    hits = 0
    for detected, drawn in zip(found, scenes.faces, strict=True):
        centres = detected.boxes[:, :2] + detected.boxes[:, 2:] / 2
        centre = drawn.boxes[0, :2] + drawn.boxes[0, 2:] / 2
        hits += (np.abs(centres - centre).max(axis=1) < drawn.boxes[0, 2] / 3).any()
    assert hits >= 18


def test_bad_files_in_detect(paths, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    files = [tmp_path / "broken.jpg", paths[0]]
    with pytest.raises(ImageError, match=r"broken.jpg \(item 0\)"):
        FaceCropper().detect(files)
    with pytest.warns(UserWarning, match=r"1 of 2 images .*unknown format\.$"):
        assert len(FaceCropper().detect(files, on_error="skip")[0].boxes) == 0


def test_without_opencv_the_way_out_is_named(paths, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install 'skage\[faces\]'"):
        FaceCropper().fit(paths)
    FaceCropper(red_square).fit(paths)


@pytest.mark.parametrize("change", [{"margin": -1}, {"select": "first"}, {"angles": [np.nan]}])
def test_parameters_set_after_fit_are_checked_when_they_are_used(change, paths):
    cropper = FaceCropper(red_square).fit(paths).set_params(**change)
    for used in (cropper, pickle.loads(pickle.dumps(cropper))):
        with pytest.raises(ValueError, match=next(iter(change))):
            used.transform(paths)
        with pytest.raises(ValueError, match=next(iter(change))):
            used.detect(paths)


def test_paths_may_begin_with_a_tilde(paths, calls, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    FaceCropper(feature_cache="~/cache").detect(paths[:1])
    assert len(list((tmp_path / "cache").glob("*.sqlite"))) == 1
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ValueError, match=rf"model_file='{tmp_path}/text.onnx' is not a YuNet"):
        FaceCropper("yunet", model_file="~/text.onnx").fit(paths)


def test_without_a_cache_folder_the_model_may_still_be_passed(paths, monkeypatch, tmp_path):
    def homeless(_):
        raise ValueError("This user has no cache folder.")

    monkeypatch.setattr(detectors, "resolve_folder", homeless)
    with pytest.raises(ValueError, match=r"no cache folder\. Or pass the path of YuNet's"):
        FaceCropper("yunet").fit(paths)
    (tmp_path / "file").touch()
    monkeypatch.setattr(detectors, "resolve_folder", lambda _: tmp_path / "file" / "cache")
    with pytest.raises(OSError, match=r"cannot be downloaded .* to '.*onnx'.* Pass its path as"):
        FaceCropper("yunet").fit(paths)


@pytest.mark.skipif(not YUNET, reason="SKAGE_YUNET names no model file")
def test_a_network_that_is_not_yunet_is_refused(paths, tmp_path):
    changed = Path(YUNET).read_bytes().replace(b"cls_8", b"clz_8")
    (tmp_path / "other.onnx").write_bytes(changed)
    with pytest.raises(ValueError, match=r"other.onnx' is not a YuNet model that OpenCV can read"):
        FaceCropper("yunet", model_file=tmp_path / "other.onnx").fit(paths)


def test_a_crop_tells_how_it_was_cut_out(paths):
    def told(detector=red_square, **options):
        crops = FaceCropper(detector, **options).transform(paths[:2])
        [preparation] = {crop.preparation for crop in crops}
        return preparation

    assert told("haar") == (
        "the strongest face of each photograph, found by haar, cut out with a margin of 0.4, "
        "squeezed to a square"
    )
    assert told(size=32, on_no_face="nan", margin=0) == told(margin=np.float32(0))
    assert "found by red_square" in told()
    assert "found by Counting" in told(Counting())
    others = [{"margin": 0.2}, {"keep_aspect": True}, {"angles": [0, 9]}, {"select": "largest"}]
    assert len({told(**options) for options in ({}, *others)}) == 5
    assert told(angles=[0, 9]).endswith("turned upright by angles of (0.0, 9.0)")
    assert told(angles="dex").endswith("turned upright by the angles of DEX")


def _detect_in_child(detector, images, n_found):
    cropper = FaceCropper(detector, model_file=YUNET)
    n_found.put(sum(len(f.boxes) for f in cropper.detect(images)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("detector", ["haar", *(["yunet"] if YUNET else [])])
def test_faces_are_found_in_a_process_forked_amid_the_finding(detector):
    images = list(make_faces(4, 200, random_state=1, scenes=True).data)
    stop = threading.Event()

    def busy():
        for i in range(10**6):
            if stop.is_set():
                return
            FaceCropper(detector, model_file=YUNET).detect([np.roll(images[0], i)], n_jobs=1)

    other = threading.Thread(target=busy)
    other.start()
    context = multiprocessing.get_context("fork")
    n_found, hung = context.SimpleQueue(), 0
    try:
        for _ in range(2):
            with _memory.faces._lock:  # as if the other thread were just there
                child = context.Process(target=_detect_in_child, args=(detector, images, n_found))
                child.start()
            child.join(30)
            hung += child.is_alive()
            child.kill()
    finally:
        stop.set()
        other.join()
    assert not hung
    cropper = FaceCropper(detector, model_file=YUNET)
    assert n_found.get() == sum(len(f.boxes) for f in cropper.detect(images))
