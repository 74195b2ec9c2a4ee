import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline

import skage
from skage import FaceCropper
from skage._files.container import read_container, write_container
from skage._models.save import save

from .conftest import tiny_model


def pipeline(model, **options):
    defaults = {"size": 32, "on_no_face": "whole", "margin": 0.3, "feature_cache": None}
    return Pipeline([("faces", FaceCropper(**defaults | options)), ("age", model)])


@pytest.fixture(scope="module")
def regressor(faces):
    return tiny_model(max_epochs=1).fit(faces.data, faces.target)


@pytest.mark.parametrize("options", [{}, {"keep_aspect": True, "angles": [0, 5]}])
def test_a_pipeline_is_one_file(faces, tmp_path, options):
    model = pipeline(tiny_model(max_epochs=1), **options).fit(faces.data, faces.target)
    save(model, tmp_path / "age.skage")
    loaded = skage.load(tmp_path / "age.skage")
    assert list(loaded.named_steps) == ["faces", "age"]
    assert loaded[0].get_params() == model[0].get_params()
    assert (loaded.predict(faces.data[:4]) == model.predict(faces.data[:4])).all()


def test_paths_of_the_machine_are_not_in_the_file(tmp_path, regressor):
    detector = tmp_path / "yunet.onnx"
    detector.write_bytes(b"a detector")
    cropper = FaceCropper("yunet", model_file=detector, feature_cache=tmp_path / "cache")
    save(make_pipeline(cropper, regressor), tmp_path / "age.skage")
    assert b"yunet.onnx" not in (tmp_path / "age.skage").read_bytes()
    with pytest.warns(UserWarning, match="a YuNet model of the user's own .* SHA-256 [0-9a-f]{64}"):
        loaded = skage.load(tmp_path / "age.skage")
    assert loaded[0].model_file is None
    assert loaded[0].feature_cache is None


def test_a_pipeline_without_a_cropper_is_one_file(faces, tmp_path, regressor):
    save(make_pipeline(regressor), tmp_path / "age.skage")
    loaded = skage.load(tmp_path / "age.skage")
    assert isinstance(loaded, Pipeline)
    assert len(loaded) == 1


def test_other_steps_are_refused(tmp_path, regressor):
    path = tmp_path / "age.skage"
    with pytest.raises(TypeError, match="a Pipeline with PCA before the regressor"):
        save(Pipeline([("pca", PCA()), ("age", regressor)]), path)
    with pytest.raises(TypeError, match=r"detector=.* as it is code"):
        save(pipeline(regressor, detector=np.zeros), path)
    assert not path.exists()


@pytest.mark.parametrize(
    "wrong", [{"margin": -1}, {"detector": "other"}, {"model_file": "/x"}, {"unknown": 1}]
)
def test_settings_that_a_cropper_cannot_have_are_refused(tmp_path, regressor, wrong):
    path = tmp_path / "age.skage"
    save(pipeline(regressor), path)
    header, tensors = read_container(path)
    header["cropper"]["parameters"] |= wrong
    write_container(path, header, tensors)
    with pytest.raises(ValueError, match="cannot load the model"):
        skage.load(path)
