"""Where a model looks: occlusion and Grad-CAM."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skage import AgeBinner, BinnedAgeRegressor, EmbeddingClassifier, FaceCropper, Preprocessing
from skage.displays import SaliencyDisplay
from skage.displays._occlusion import _parts, occlusion

from .conftest import tiny_classifier, tiny_model


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Corner(RegressorMixin, BaseEstimator):
    """Predicts 20 years, and half a year for each level of green of the upper left corner."""

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y):
        return self

    def predict(self, X):
        return 20 + np.asarray(X)[:, :8, :8, 1].mean(axis=(1, 2)) / 2


@pytest.fixture(scope="module")
def corner():
    """An image whose upper left corner is brighter than the rest."""
    image = np.full((32, 32, 3), 60, np.uint8)
    image[:8, :8] = 160
    return image


def test_covering_the_part_that_matters_lowers_the_age(corner):
    _, heat, age = occlusion(Corner(), corner, 0.25, 4)
    assert age == 100
    assert heat.shape == (4, 4)
    assert heat[0, 0] == pytest.approx((160 - round(corner.mean())) / 2, abs=1e-3)
    assert np.count_nonzero(np.abs(heat) > 1e-5) == 1


def test_an_age_that_nothing_changes_has_no_contours():
    display = SaliencyDisplay.from_estimator(Corner(), np.full((16, 16, 3), 40, np.uint8))
    assert not display.heat.any()
    assert display.age == 40


def test_occlusion_is_captums():
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    mean = torch.as_tensor(image.mean(axis=(0, 1)).round()).float()
    expected = Occlusion(lambda batch: torch.as_tensor(Corner().predict(batch.numpy()))).attribute(
        torch.as_tensor(image[None]).float(),
        sliding_window_shapes=(10, 10, 3),
        strides=(5, 5, 3),
        baselines=mean.expand(1, 30, 30, 3),
    )
    _, heat, _ = occlusion(Corner(), image, 1 / 3, 5)
    cells = expected[0, :, :, 0].numpy().reshape(5, 6, 5, 6).mean(axis=(1, 3))
    np.testing.assert_allclose(heat, cells, atol=1e-4)
    assert np.abs(heat).max() > 0.1


@pytest.mark.parametrize("shape", [(32, 32), (33, 50), (7, 100)])
@pytest.mark.parametrize(("patch", "n_steps"), [(0.25, 4), (0.2, 10), (1, 1), (0.3, 4)])
def test_the_parts_cover_the_image(shape, patch, n_steps):
    covered = np.zeros(shape)
    for part in _parts(shape, patch, n_steps):
        covered[part] += 1
    assert covered.min() >= 1


@pytest.mark.filterwarnings("ignore:There are only")
def test_occlusion_in_years_of_any_model_of_images(faces, fitted, paths, network):
    classifier = EmbeddingClassifier(
        network,
        output="features",
        preprocessing=Preprocessing(mean=0, std=255),
        max_epochs=2,
        random_state=0,
    )
    embedding = BinnedAgeRegressor(classifier, AgeBinner(3)).fit(faces.data, faces.target)
    for model in (fitted, embedding):
        display = SaliencyDisplay.from_estimator(model, paths[0], n_steps=4)
        assert display.age == pytest.approx(model.predict(paths[:1])[0], abs=1e-3)
        assert display.heat.shape == (4, 4)
        assert display.ax_.get_title() == f"predicted {display.age:.0f} years"
        assert "(years)" in display.figure_.axes[1].get_ylabel()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_members": 2},
        {"trainable": "block5"},
        {"trainable": "all"},
        {"backbone": "vgg11_bn"},
        {"loss": "l1"},
        {"hidden_layer_sizes": ()},
    ],
    ids=str,
)
def test_grad_cam_of_all_kinds_of_networks(faces, options):
    model = tiny_model(image_size=64, **options).fit(faces.data[:20], faces.target[:20])
    weights = list(model.classifier_.net_.module_.parameters())
    before = [weight.grad.clone() for weight in weights]
    display = SaliencyDisplay.from_estimator(model, faces.data[0], method="grad_cam")
    assert display.heat.shape == (4, 4)
    assert np.abs(display.heat).max() in (0, pytest.approx(1))
    assert display.pixels.shape == (64, 64, 3)
    assert display.age == model.predict(faces.data[:1])[0]
    assert all(torch.equal(w.grad, grad) for w, grad in zip(weights, before, strict=True))


def test_grad_cam_is_the_gradient_of_the_expected_age(faces):
    model = tiny_model(image_size=64).fit(faces.data[:20], faces.target[:20])
    display = SaliencyDisplay.from_estimator(model, faces.data[0], method="grad_cam")
    classifier = model.classifier_
    frozen, head = classifier.frozen_, classifier.net_.module_
    pixels = torch.as_tensor(display.pixels.copy())[None].float()
    x = ((pixels - frozen.mean) / frozen.std).permute(0, 3, 1, 2)
    feature_map = frozen.features[:-1](x).detach().requires_grad_()
    pooled = torch.flatten(frozen.pool(frozen.features[-1](feature_map)), 1)
    values = torch.as_tensor(model.binner_.bin_values_[classifier.classes_]).float()
    age = head(pooled).softmax(dim=1)[0] @ values
    age.backward()
    weights = feature_map.grad.mean(dim=(2, 3), keepdim=True)
    heat = (weights * feature_map).sum(dim=1)[0].detach().numpy()
    np.testing.assert_allclose(display.heat, heat / np.abs(heat).max(), atol=1e-4)


def red(pixels):
    """The face is red here."""
    y, x = np.nonzero((pixels == (255, 0, 0)).all(axis=2))
    return [(x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1, 1.0)] if len(x) else []


def test_a_pipeline_or_a_search_shows_the_crop():
    photos = np.zeros((6, 60, 60, 3), np.uint8)
    photos[:, 20:40, 10:30] = 255, 0, 0
    child = tiny_model(2, validation_fraction=0)  # the crops are alike
    model = make_pipeline(FaceCropper(red, margin=0, size=32), child)
    search = GridSearchCV(model, {"facecropper__margin": [0]}, cv=2)
    search.fit(photos, [10.0, 20, 30, 40, 50, 60])
    for method in ("occlusion", "grad_cam"):
        display = SaliencyDisplay.from_estimator(search, photos[0], method=method, n_steps=4)
        assert (display.pixels == (255, 0, 0)).all()


def test_without_captum_the_error_says_what_to_install(monkeypatch, faces, fitted):
    monkeypatch.delitem(sys.modules, "skage.displays._grad_cam", raising=False)
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "captum.attr")
    with pytest.raises(ImportError, match=r"pip install 'skage\[explain\]'"):
        SaliencyDisplay.from_estimator(fitted, faces.data[0], method="grad_cam")
    SaliencyDisplay.from_estimator(fitted, faces.data[0], n_steps=4)


def test_what_cannot_be_explained_is_refused(faces, fitted, corner, tmp_path):
    with pytest.raises(ValueError, match="method='shap' is unknown"):
        SaliencyDisplay.from_estimator(fitted, faces.data[0], method="shap")
    with pytest.raises(ValueError, match=r"patch=0\.1 and n_steps=5 do not cover the image"):
        SaliencyDisplay.from_estimator(fitted, faces.data[0], patch=0.1, n_steps=5)
    with pytest.raises(ValueError, match=r"needs a BinnedAgeRegressor of a VGG16.*, not Corner"):
        SaliencyDisplay.from_estimator(Corner(), corner, method="grad_cam")
    with pytest.raises(ValueError, match=r"gone\.png \(item 0\) does not exist"):
        SaliencyDisplay.from_estimator(fitted, tmp_path / "gone.png")
    regressor = tiny_classifier().fit(faces.data[:6], np.arange(6) % 2)
    with pytest.raises(ValueError, match=r"not VGG16Classifier"):
        SaliencyDisplay.from_estimator(regressor, faces.data[0], method="grad_cam")
