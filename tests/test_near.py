"""Groups of images that show the same photograph, or nearly the same."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from skage.datasets import _near, find_near_duplicates, group_near_duplicates, make_faces
from skage.images import ImageError
from skage.splits import AgeStratifiedGroupKFold


@pytest.fixture(scope="module")
def pictures():
    faces = make_faces(12, image_size=200, random_state=0)
    return [Image.fromarray(pixels) for pixels in faces.data]


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file)


COPIES = {
    "saved as JPEG": jpeg,
    "resized": lambda image: image.resize((160, 160)),
    "cropped": lambda image: image.crop((3, 3, 197, 197)),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "mirrored": ImageOps.mirror,
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_shares_the_group_of_its_original_alone(pictures, copy):
    groups = group_near_duplicates([*pictures, copy(pictures[3])])
    assert groups.tolist() == [*range(12), 3]


def test_paths_images_and_arrays_are_compared_with_each_other(pictures, tmp_path):
    pictures[0].save(tmp_path / "0.png")
    X = [tmp_path / "0.png", pictures[0], np.asarray(pictures[0]), pictures[1]]
    assert group_near_duplicates(X).tolist() == [0, 0, 0, 1]
    assert find_near_duplicates(X).similarity.tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_the_pairs_are_sorted_by_similarity_and_do_not_depend_on_other_images(pictures):
    X = [*pictures, COPIES["cropped"](pictures[3]), COPIES["resized"](pictures[4])]
    pairs = find_near_duplicates(X)
    assert pairs[["i", "j"]].to_numpy().tolist() == [[4, 13], [3, 12]]
    assert 1 >= pairs.similarity[0] > pairs.similarity[1] >= 0.88
    alone = find_near_duplicates([X[3], X[12]])
    assert alone.similarity[0] == pytest.approx(pairs.similarity[1], abs=1e-6)


def test_a_lower_threshold_finds_more_pairs(pictures):
    found = [len(find_near_duplicates(pictures, threshold=t)) for t in (0.99, 0.5, 0.3)]
    assert found[0] == 0
    assert found == sorted(set(found))


def test_images_of_one_colour_are_alike_and_like_nothing_else(pictures):
    flat = [np.full((40, 40), level, dtype=np.uint8) for level in (0, 130)]
    assert group_near_duplicates([*flat, pictures[0]]).tolist() == [0, 0, 1]


def test_given_groups_are_merged_where_their_images_are_alike():
    features = np.eye(5)[[0, 1, 2, 3, 0, 4]]
    X = np.zeros((6, 8, 8), dtype=np.uint8)
    person = ["ann", "ann", "bob", "bob", "eve", "eve"]
    groups = group_near_duplicates(X, groups=person, features=features, threshold=0.9)
    assert groups.tolist() == [0, 0, 1, 1, 0, 0]
    alone = group_near_duplicates(X, features=features, threshold=0.9)
    assert alone.tolist() == [0, 1, 2, 3, 0, 4]


def test_groups_by_pixels_and_by_features_add_up(pictures):
    X = [*pictures[:3], jpeg(pictures[0])]
    groups = group_near_duplicates(X)
    features = [[1, 0], [0, 1], [0.1, 1], [1, 0.5]]
    groups = group_near_duplicates(X, groups=groups, features=features, threshold=0.99)
    assert groups.tolist() == [0, 1, 1, 0]


def test_no_fold_separates_near_duplicates(pictures):
    X = [*pictures, *map(jpeg, pictures)]
    groups = group_near_duplicates(X)
    ages = np.tile(np.arange(12.0), 2)
    for _, test in AgeStratifiedGroupKFold(3).split(X, ages, groups):
        assert set(np.bincount(test % 12, minlength=12)) == {0, 2}


def test_the_cosine_of_features_is_exact_across_blocks(monkeypatch):
    monkeypatch.setattr(_near, "_BLOCK", 300)
    features = np.random.RandomState(0).randn(100, 6)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = np.triu(units @ units.T, 1)
    X = np.zeros((100, 8, 8), dtype=np.uint8)
    pairs = find_near_duplicates(X, features=features, threshold=0.8)
    expected = np.argwhere(cosines >= 0.8)
    assert sorted(zip(pairs.i, pairs.j, strict=True)) == list(map(tuple, expected.tolist()))
    assert pairs.similarity.to_numpy() == pytest.approx(cosines[pairs.i, pairs.j], abs=1e-6)


def test_all_unreadable_images_are_named(pictures, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    X = [pictures[0], tmp_path / "lost.jpg", tmp_path / "broken.jpg"]
    with pytest.raises(ImageError, match=r"(?s)2 images.*lost\.jpg \(item 1\).*broken\.jpg"):
        group_near_duplicates(X)
    with pytest.raises(ImageError, match=r"lost\.jpg \(item 1\) does not exist.*on_error='skip'"):
        find_near_duplicates(X[:2])


def test_skipped_images_stay_in_their_given_groups(pictures, tmp_path):
    X = [tmp_path / "lost.jpg", pictures[0], jpeg(pictures[0]), tmp_path / "gone.jpg"]
    with pytest.warns(UserWarning, match="2 of 4 images cannot be read") as caught:
        assert group_near_duplicates(X, on_error="skip").tolist() == [0, 1, 1, 2]
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="2 of 4"):
        groups = group_near_duplicates(X, groups=[7, 8, 9, 7], on_error="skip")
    assert groups.tolist() == [0, 1, 1, 0]
    with pytest.warns(UserWarning, match="2 of 2"):
        assert len(find_near_duplicates([X[0], X[3]], on_error="skip")) == 0


def test_a_group_that_chains_many_images_warns():
    angles = np.arange(40) / 20
    features = np.column_stack([np.cos(angles), np.sin(angles)])
    X = np.zeros((40, 8, 8), dtype=np.uint8)
    with pytest.warns(UserWarning, match="40 of 40 images form one group") as caught:
        group_near_duplicates(X, features=features, threshold=0.99)
    assert caught[0].filename == __file__
    one_person = group_near_duplicates(X, groups=[0] * 40, features=features, threshold=0.99)
    assert set(one_person) == {0}


def test_too_many_pairs_are_refused(monkeypatch):
    monkeypatch.setattr(_near, "_MAX_PAIRS", 100)
    X = np.zeros((20, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"More than 100 pairs .* Pass a higher threshold"):
        find_near_duplicates(X)


X = np.zeros((2, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": np.eye(2)}, "Features need a threshold"),
        ({"features": np.eye(3), "threshold": 0.9}, "inconsistent numbers of samples"),
        ({"features": [[1, 2], [np.nan, 1]], "threshold": 0.9}, "features contains NaN"),
        ({"threshold": 1}, "'threshold' parameter"),
        ({"on_error": "nan"}, "'on_error' parameter"),
        ({"groups": [0, 1, 2]}, "groups has 3 values, but X has 2 images"),
        ({"groups": ["ann", None]}, r"groups\[1\] is missing"),
    ],
)
def test_wrong_arguments_are_refused_with_advice(options, message):
    with pytest.raises(ValueError, match=message):
        group_near_duplicates(X, **options)
