import os
import pickle
import struct
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skage import FaceCropper
from skage._images import reading as images
from skage._images.reading import (
    ImageError,
    check_images,
    digest_and_decoder,
    has_image_suffix,
    map_ahead,
    readable,
    remembered_digest,
    resize,
)


def decode(item, position=0):
    return np.asarray(digest_and_decoder(item, position)[1]())


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)


def test_containers_hold_the_same_images(paths):
    for X in (
        paths,
        tuple(paths),
        np.array(paths),
        np.array(paths, dtype=object)[:, None],
        pd.Series(paths),
        pd.DataFrame({"path": paths}),
        [Path(path) for path in paths],
    ):
        images = check_images(X)
        assert [os.fspath(image) for image in images] == paths


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a.jpg", r"X is one image \(a.jpg\). Pass a list"),
        (Path("a.jpg"), "one image"),
        (Image.new("L", (3, 3)), "one image"),
        ([], "0 images"),
        (np.zeros((0, 8, 8, 3), np.uint8), "0 images"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\) .*is one image, pass X\[None\]"),
        (np.zeros((8, 8, 3), np.uint8), r"is one image, pass X\[None\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), "channels last"),
        (np.zeros((2, 8, 8, 4), np.uint8), "channels last"),
        (np.array([["a", "b"]]), r"shape \(1, 2\)"),
        (7, "must be a sequence of images, got int"),
        (iter("ab"), r"got str_.*iterator. Pass list\(X\)"),
        ({"a": "a.jpg"}, r"got dict. Pass list\(X.values\(\)\)"),
        ({"a.jpg"}, "got set. Pass a list in the order"),
        (np.zeros(12), r"contains 12 numbers \(float64\), not images"),
        (pd.Series([30, 40]), r"contains 2 numbers \(int64\), not images"),
        (
            pd.DataFrame({"age": [30], "path": ["a.jpg"]}),
            r"DataFrame of 2 columns \(age, path\). Pass the one .* X\['path'\]",
        ),
        (pd.DataFrame({"age": [30], "votes": [3]}), "none of which contains images"),
        (pd.DataFrame(), "DataFrame without columns"),
        ("faces.csv", r"is a table \(faces.csv\). Load it with skage.datasets.load_table"),
        (np.zeros((2, 8, 8), bool), r"X has dtype bool; .* image.astype\(numpy.uint8\) \* 255"),
        (
            np.full((2, 8, 8), 4000, np.uint16),
            "expected uint8.* if they have 16 bits, pass image / 65535",
        ),
        (np.full((2, 8, 8), 7, np.int64), r"Its values, 7 to 7, fit: pass image.astype"),
        (np.full((2, 8, 8), -7, np.int8), "If -128 is black"),
    ],
)
def test_a_container_that_does_not_hold_images_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        check_images(X)


def test_a_folder_is_neither_an_image_nor_a_list_of_images(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path, str(tmp_path), "~"):
        with pytest.raises(ValueError, match=r"X is a folder .*glob.*skage.datasets"):
            check_images(folder)
    with pytest.raises(ImageError, match="is a folder, not an image"):
        digest_and_decoder(tmp_path, 0)


def ramp(low, high):
    return np.linspace(low, high, 48).reshape(1, 4, 4, 3)


@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [
        (0, 255, "Divide by 255, or pass uint8"),
        (-7, 262, "Divide by 255 and clip"),
        (0, 1.02, r"Clip them: numpy.clip\(image, 0, 1\)"),
        (-0.03, 1, "Clip them"),
        (-1, 1, r"If they lie in \[-1, 1\], pass \(image \+ 1\) / 2"),
        (-2.1, 2.6, r"undo it: image \* std \+ mean"),
        (0, 65535, "divide by 65535"),
        (-500, 500, "0 is black and 1 is white"),
    ],
)
def test_floats_out_of_range_are_told_what_to_do(low, high, advice):
    with pytest.raises(ImageError, match=rf"Image 3 of X has floats from .*{advice}"):
        digest_and_decoder(ramp(low, high)[0], 3)
    with pytest.raises(ValueError, match=rf"X has floats from .*{advice}"):
        check_images(ramp(low, high))


def test_the_range_of_an_array_of_images_is_that_of_all_of_them():
    black_first = np.concatenate([ramp(0, 0), ramp(0, 255)])
    with pytest.raises(ValueError, match=r"X has floats from 0.0 to 255.0; .*Divide by 255"):
        check_images(black_first)
    lost = np.concatenate([ramp(0, np.nan), ramp(0, 1)])  # one image, which may be skipped
    assert check_images(lost) is lost


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_a_rounding_error_out_of_range_are_clipped(kind, picture):
    just = picture / 255 * 1.0005 - 2e-4
    assert just.min() < 0 < 1 < just.max()
    difference = decode(just.astype(kind)).astype(int) - picture
    assert np.abs(difference).max() <= 1
    assert check_images(just[None]) is not None


class Refusing:
    """Such as a tensor of bfloat16, or one that wants a gradient."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


class RefusingPath(Refusing, os.PathLike):
    def __fspath__(self):
        raise self.error


class Unopened(Image.Image):
    def load(self):
        raise RuntimeError("the archive is closed")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Refusing(TypeError("Got unsupported ScalarType BFloat16")), "ScalarType BFloat16. Pass"),
        (Refusing(RuntimeError("It requires grad.")), "requires grad. Pass"),
        (RefusingPath(OSError("It is offline.")), "It is offline. Pass"),
        (Unopened(), "the archive is closed"),
    ],
)
def test_whatever_an_item_raises_names_the_image(item, message, picture):
    with pytest.raises(ImageError, match=rf"\(item 1\) .*{message}"):
        digest_and_decoder(item, 1)
    assert remembered_digest(item) is None
    assert readable([picture, item]).tolist() == [True, False]


def test_running_out_of_memory_is_not_reported_as_an_unreadable_image(monkeypatch, paths, picture):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(images, "to_rgb", fail)
    for item in (paths[0], Image.fromarray(picture)):
        with pytest.raises(MemoryError):
            decode(item)
    with pytest.raises(MemoryError):
        decode(type("Array", (), {"__array__": fail})())


def test_an_array_that_numpy_refuses_is_refused():
    error = TypeError("Got unsupported ScalarType BFloat16.")
    Tensor = type("Tensor", (), {"__array__": Refusing(error).__array__})
    with pytest.raises(ValueError, match=r"X is a Tensor that NumPy cannot convert: .*numpy\(\)"):
        check_images(Tensor())


def test_the_hint_is_not_part_of_the_message(tmp_path):
    with pytest.raises(ImageError) as caught:
        decode(tmp_path / "lost.jpg")
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value) == f"{error.message} {images.SKIP_HINT}"
    assert error.message.endswith("lost.jpg (item 0) does not exist.")
    assert str(ImageError("a\nb", "Do it.")) == "a Do it.\nb"
    assert str(ImageError("a")) == "a"


def test_a_path_may_begin_in_the_home_folder(tmp_path, monkeypatch, picture):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(images, "_SETTLED", 0)
    Image.fromarray(picture).save(tmp_path / "face.png")
    for path in ("~/face.png", Path("~/face.png")):
        assert (decode(path) == picture).all()
        assert remembered_digest(path) == digest_and_decoder(tmp_path / "face.png", 0)[0]
    with pytest.raises(ImageError, match=r"~/lost.png \(item 0\) does not exist"):
        decode("~/lost.png")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.zeros((4, 4), np.int64), "Image 3 of X has dtype int64; expected uint8"),
        (np.full((4, 4), 200.0), r"floats from 200.0 to 200.0; .* Divide by 255"),
        (np.full((4, 4), np.nan), "floats from nan"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\)"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        (None, r"Image 3 of X is None \(NoneType\); expected a path"),
        (float("nan"), r"Image 3 of X is nan \(float\); expected a path"),
        (["a.jpg", "b.jpg"], "is a list of 2 images. Pass one flat list"),
        ([1, 2, 3], r"is a list of shape \(3,\)"),
        (b"\xff\xd8\xff", r"the content of a file \(bytes\); open it with PIL.Image.open"),
        (np.zeros((3, 4, 4), np.uint8), r"numpy.moveaxis\(image, 0, 2\)"),
        (np.zeros((4, 4, 4), np.uint8), r"Remove the alpha channel: image\[:, :, :3\]"),
        (np.zeros((4, 4, 1), np.uint8), r"image\[:, :, 0\]"),
        ([[1], [2, 3]], "not a readable image"),
        (Image.new("RGB", (0, 5)), "no pixels"),
    ],
)
def test_an_item_that_is_not_an_image_is_refused_with_its_position(item, message):
    with pytest.raises(ImageError, match=message):
        digest_and_decoder(item, 3)


def test_bad_files_are_refused_by_name_and_position(tmp_path, picture):
    good = tmp_path / "good.png"
    Image.fromarray(picture).save(good)
    files = {
        "text.jpg": b"no image at all",
        "empty.jpg": b"",
        "truncated.png": good.read_bytes()[:-40],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    expected = {
        "text.jpg": "is not a readable image: unknown format",
        "empty.jpg": r"is empty \(0 bytes\)",
        "truncated.png": "is not a readable image",
        "folder.jpg": "is a folder",
        "pipe.jpg": "is not a regular file",
        "missing.jpg": "does not exist",
    }
    for name, reason in expected.items():
        with pytest.raises(ImageError, match=rf"{name} \(item 17\) {reason}"):
            decode(tmp_path / name, 17)
    with pytest.raises(ImageError, match=r"item 2\) cannot be opened"):
        decode("a\0b", 2)


def test_a_picture_beyond_the_bound_is_refused(tmp_path, monkeypatch):
    Image.new("L", (40, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(ImageError, match=r"40 x 30 pixels, more than .*= 1000"),
    ):
        decode(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Pillow's own error, at twice as much
    with pytest.raises(ImageError, match=r"large.png \(item 0\) would .*MAX_IMAGE_PIXELS"):
        decode(tmp_path / "large.png")


def test_a_jpeg_of_endless_scans_is_refused(tmp_path):
    path = tmp_path / "slow.jpg"
    Image.new("L", (64, 64)).save(path, progressive=True)
    data = path.read_bytes()
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:last] + data[last:-2] * 50 + data[-2:] + data * 100)
    assert decode(path).shape == (64, 64, 3)  # what follows the picture is not counted
    path.write_bytes(data[:last] + data[last:-2] * 200 + data[-2:])
    with pytest.raises(ImageError, match=r"slow.jpg .* it has 205 scans, more than 100"):
        decode(path)


def test_exif_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    assert (decode(tmp_path / "turned.png") == np.rot90(picture, -1)).all()


def test_a_tag_of_orientation_is_applied_once(tmp_path, picture):
    """A picture that is made of a turned one, such as a crop, keeps no tag of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif, icc_profile=b"profile")
    for item in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        first = digest_and_decoder(item, 0)[1]()
        assert not first.info
        again = decode(first.resize(first.size))
        assert (again == np.rot90(picture, -1)).all()


def test_crops_of_a_detector_that_is_a_function_are_turned_once(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).resize((90, 120)).save(tmp_path / "turned.jpg", exif=exif)
    crop = FaceCropper(lambda pixels: [], size=64).transform([tmp_path / "turned.jpg"])[0]
    assert (decode(crop) == np.asarray(crop)).all()
    assert (decode(crop.image()) == np.asarray(crop)).all()


def test_a_broken_tag_leaves_the_orientation_to_be_applied(tmp_path, picture):
    tags = [(0x0112, 3, 1, 6), (0x0132, 11, 1, 2**32 - 1)]  # a date that is a number
    block = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + block + bytes(4)
    Image.fromarray(picture).save(tmp_path / "phone.png", exif=exif)
    assert (decode(tmp_path / "phone.png") == np.rot90(picture, -1)).all()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0no TIFF at all",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01",  # it ends within the orientation
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x03\0\0\0six\0\0\0\0\0",
    ],
)
def test_broken_exif_does_not_spoil_a_picture(tmp_path, picture, exif):
    Image.fromarray(picture).save(tmp_path / "phone.png", exif=exif)
    assert (decode(tmp_path / "phone.png") == picture).all()


def test_a_name_that_cannot_be_printed_is_escaped(tmp_path):
    for name in ("two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg"), "a\0b.jpg", ""):
        with pytest.raises(ImageError) as caught:
            decode(name, 4)
        message = str(caught.value)
        assert message.startswith(f"{name!r} (item 4) ")
        assert message.isprintable()


def test_pillow_runs_no_other_program_and_opens_nothing_within_a_file(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: Image.new("L", (9, 9)))
    grey = Image.new("L", (32, 32))
    for name in ("face.eps", "face.ico"):
        grey.save(tmp_path / name)
    inner = (tmp_path / "face.eps").read_bytes()
    fields = [(3, 60, b"\1\0"), (3, 20, b"\x20"), (3, 30, b"\x20"), (3, 120, b"\5"), (8, 10, inner)]
    iptc = b"".join(bytes([28, *f[:2]]) + len(f[2]).to_bytes(2, "big") + f[2] for f in fields)
    (tmp_path / "face.iim").write_bytes(iptc)
    for name in ("face.eps", "face.ico", "face.iim"):
        with pytest.raises(ImageError, match=rf"{name} .* unknown format"):
            decode(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.* image format is deprecated:DeprecationWarning")
def test_a_suffix_counts_as_an_images_if_a_file_of_it_can_be_read(tmp_path, picture):
    modes = {"MSP": "1", "XBM": "1", "PALM": "P", "BLP": "P"}
    n_read = 0
    for suffix, name in Image.registered_extensions().items():
        path = tmp_path / f"face{suffix.upper()}"
        try:
            Image.fromarray(picture).convert(modes.get(name, "RGB")).save(path, name)
        except (KeyError, OSError):  # Pillow writes no such file
            continue
        try:
            decode(path)
            n_read += 1
        except ImageError:
            assert not has_image_suffix(path), path
        else:
            assert has_image_suffix(path), path
    assert n_read > 20


@pytest.mark.parametrize("name", ["a.jpe", "a.JFIF", Path("b/a.Png"), b"a.bmp", "a.tar.ppm"])
def test_suffixes_of_images(name):
    assert has_image_suffix(name)


@pytest.mark.parametrize(
    "name", ["", "a", "jpg", ".jpg", "a.jpg.csv", "a.pdf", "a.mpg", "a.h5", "a.eps", "a.ico", "."]
)
def test_suffixes_of_no_image(name):
    assert not has_image_suffix(name)


def test_values_that_are_not_finite_are_refused(tmp_path):
    for value in (np.nan, np.inf, -np.inf):
        image = Image.fromarray(np.array([[0, value]], np.float32))
        image.save(tmp_path / "depth.tif")
        for item in (image, tmp_path / "depth.tif"):
            with pytest.raises(ImageError, match=r"values from .*(nan|inf)"):
                decode(item)


def test_arrays_of_all_kinds_agree(picture):
    grey = picture[:, :, 0]
    assert (decode(picture) == picture).all()
    assert (decode(picture / 255) == picture).all()
    assert (decode((picture / 255).astype(np.float32)) == picture).all()
    assert (decode(grey) == grey[:, :, None]).all()
    assert (decode(Image.fromarray(picture)) == picture).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"])
def test_every_mode_becomes_rgb(mode):
    grey = Image.new("L", (8, 8), 255)
    image = {
        "I;16": Image.fromarray(np.full((8, 8), 65535, np.uint16)),
        "I": Image.fromarray(np.full((8, 8), 65535, np.int32)),
        "F": Image.fromarray(np.ones((8, 8), np.float32)),
        "LAB": Image.new("LAB", (8, 8), (255, 128, 128)),
    }.get(mode) or grey.convert("RGB").convert(mode)
    assert image.mode == mode
    white = decode(image)
    assert white.shape == (8, 8, 3)
    assert (white > 250).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_transparency_lies_on_white(mode):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    if mode == "PA":
        clear = Image.new("P", (4, 4))
        clear.putalpha(0)
    elif mode != "RGBA":
        clear = clear.convert(mode.upper() if mode == "La" else mode).convert(mode)
    assert clear.mode == mode
    assert (decode(clear) == 255).all()


def test_the_digest_follows_the_content(paths, picture):
    digest = digest_and_decoder(picture, 0)[0]
    assert digest == digest_and_decoder(Image.fromarray(picture), 5)[0]
    assert digest != digest_and_decoder(picture.swapaxes(0, 1), 0)[0]
    assert digest_and_decoder(paths[0], 0)[0] != digest_and_decoder(paths[1], 0)[0]


@pytest.mark.parametrize("size", [(1, 1), (12_000, 1), (1, 12_000), (3, 5000)])
@pytest.mark.parametrize("end", ["jpg", "png", "tif"])
def test_images_of_odd_sizes_are_read(end, size, tmp_path):
    path = tmp_path / f"face.{end}"
    Image.new("RGB", size, (200, 100, 60)).save(path)
    pixels = resize(digest_and_decoder(path, 0)[1](32), 32)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - [200, 100, 60]).max() < 5


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several_is_taken(name, tmp_path):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "face", name, save_all=True, append_images=frames[1:])
    assert np.abs(decode(tmp_path / "face").astype(int) - [255, 0, 0]).max() < 9


def test_threads_share_a_lazily_opened_image(paths):
    expected = decode(paths[0])
    for _ in range(20):
        items = [Image.open(paths[0])] * 16
        found = list(map_ahead(lambda item: digest_and_decoder(item, 0)[1](), items, 8))
        assert all((np.asarray(image) == expected).all() for image in found)


def test_resize_squeezes_to_a_square(picture):
    assert resize(Image.fromarray(picture), 32).shape == (32, 32, 3)


def test_a_mask_tells_which_images_can_be_read(paths, picture, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(Path(paths[0]).read_bytes()[:200])
    mask = readable([paths[0], tmp_path / "broken.jpg", picture, "lost.jpg", picture * 2.0])
    assert mask.dtype == bool
    assert mask.tolist() == [True, False, True, False, False]
    assert readable(pd.Series(paths), n_jobs=1).all()
    with pytest.raises(ValueError, match="one image"):
        readable(paths[0])


@pytest.mark.parametrize(("on_no_face", "expected"), [("nan", 0), ("raise", 0), ("whole", 1)])
def test_a_face_that_is_not_found_is_not_readable_unless_the_whole_image_is_taken(
    on_no_face, expected
):
    def bright(pixels):
        return [[2, 2, 8, 8, 1.0]] if pixels.mean() > 128 else []

    X = [np.full((20, 20), 200, np.uint8), np.zeros((20, 20), np.uint8), "lost.jpg"]
    crops = FaceCropper(bright, on_no_face=on_no_face).transform(X)
    assert readable(crops).tolist() == [True, bool(expected), False]


def test_a_detectors_own_bug_is_not_taken_for_an_unreadable_image(picture):
    def faulty(pixels):
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        readable(FaceCropper(faulty).transform([picture]))


def test_map_ahead_keeps_order_and_stays_near_its_consumer():
    begun, lock = [], threading.Lock()

    def double(x):
        with lock:
            begun.append(x)
        return 2 * x

    results = map_ahead(double, range(1000), n_jobs=2)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert len(begun) < 20
    results.close()


@pytest.mark.parametrize("n_jobs", [None, -1, -100, 1])
def test_any_number_of_threads_gives_the_same(n_jobs):
    assert list(map_ahead(str, range(5), n_jobs)) == list("01234")


def test_no_threads_at_all_are_refused():
    with pytest.raises(ValueError, match="n_jobs=0 is not valid"):
        list(map_ahead(str, range(5), 0))


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    path = tmp_path / "phone.jpg"
    Image.fromarray(coarse).resize((1600, 1200)).save(path, quality=92, exif=exif)
    decode = digest_and_decoder(path, 0)[1]
    assert decode().size == (1200, 1600)
    assert decode(96).size == (300, 400)
    difference = resize(decode(96), 96).astype(int) - resize(decode(), 96)
    assert np.abs(difference).mean() < 0.5
    assert np.abs(difference).max() <= 8
    assert decode(600).size == (1200, 1600)  # halved it would be too small


def test_a_file_is_hashed_once_until_it_changes(tmp_path, picture, monkeypatch):
    path = tmp_path / "face.png"
    Image.fromarray(picture).save(path)
    first = digest_and_decoder(path, 0)[0]
    assert remembered_digest(path) is None  # it could change within the clock's tick
    monkeypatch.setattr(images, "_SETTLED", 0)
    assert digest_and_decoder(path, 0)[0] == first
    assert remembered_digest(path) == remembered_digest(str(path)) == first
    Image.fromarray(picture[::-1]).save(path)
    assert remembered_digest(path) is None
    path.unlink()
    assert remembered_digest(path) is None
    assert remembered_digest(picture) is None
