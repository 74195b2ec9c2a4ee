import shutil

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from skage.datasets import load_utkface, make_faces


def test_faces_are_the_same_for_the_same_seed():
    faces, again = make_faces(6, 48, 0), make_faces(6, 48, 0)
    assert faces.data.shape == (6, 48, 48, 3)
    assert faces.data.dtype == np.uint8
    assert faces.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert (faces.data == again.data).all()
    assert (faces.data != make_faces(6, 48, 1).data).any()
    data, target = make_faces(6, 48, 0, return_X_y=True)
    assert (data == faces.data).all()
    assert (target == faces.target).all()


def test_age_shows_in_the_pictures_but_not_in_their_plain_colours():
    faces = make_faces(600, 32, 0)
    train, test = slice(0, 400), slice(400, 600)

    def r2(features):
        model = RidgeCV(np.logspace(-2, 6, 9)).fit(features[train], faces.target[train])
        return r2_score(faces.target[test], model.predict(features[test]))

    pixels = faces.data.reshape(600, -1) / 255
    assert r2(pixels) > 0.25
    assert r2(faces.data.mean(axis=(1, 2))) < 0.1


def test_ages_cover_life():
    target = make_faces(500, 16, 0).target
    assert target.min() < 3
    assert target.max() > 87


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="n_samples=0"):
        make_faces(0)
    with pytest.raises(ValueError, match="image_size=8"):
        make_faces(1, image_size=8)


@pytest.fixture
def utkface(tmp_path, paths):
    names = [
        "100_1_0_20170110183726390.jpg.chip.jpg",
        "8_0_3_20170110183726391.jpg",
        "61_1_20170109142408075.jpg.chip.jpg",
        "9_0_4_20170110183726392.jpg.chip.jpg",
    ]
    (tmp_path / "part1").mkdir()
    for name, source in zip(names, [0, 1, 2, 1], strict=True):
        shutil.copy(paths[source], tmp_path / "part1" / name)
    (tmp_path / "readme.txt").write_text("not a face")
    (tmp_path / "9_0_4_20170110183726392.jpg.crdownload").write_text("not all of a face")
    return tmp_path


def test_utkface(utkface):
    faces = load_utkface(utkface)
    assert faces.target.tolist() == [100, 61, 8, 9]
    assert faces.frame.sex.fillna("?").tolist() == ["female", "?", "male", "male"]
    assert faces.frame.ethnicity.fillna("?").tolist() == ["White", "?", "Indian", "Other"]
    assert faces.groups[2] == faces.groups[3]  # the same file under two ages
    assert len(set(faces.groups)) == 3
    assert faces.conflicts.age.tolist() == [8, 9]
    assert faces.dropped == {}
    assert "DEX" in faces.DESCR


def test_another_folder_is_not_utkface(tmp_path):
    with pytest.raises(ValueError, match=r"contains no file named \[age\]_\[sex\]"):
        load_utkface(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        load_utkface(tmp_path / "missing")
