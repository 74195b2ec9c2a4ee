import copy
import importlib
import os
import pickle
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import compute_sample_weight
from skorch.callbacks import Callback, LRScheduler

import skage
from skage import AgeBinner, BinnedAgeRegressor, FaceCropper, VGG16Classifier
from skage._activations.frozen import FrozenNetwork
from skage._images.reading import ImageError
from skage._training import auto
from skage._training.resolve import validation_mask
from skage.schedules import OneCycle, StepDecay

from .conftest import tiny_classifier, tiny_model


@pytest.fixture(scope="module")
def labels(faces):
    return np.where(faces.target > 45, "old", "young")


def weights_of(classifier):
    return torch.cat([p.flatten() for p in classifier.net_.module_.parameters()])


def test_classifies_with_its_own_labels(faces, labels):
    linear = {"hidden_layer_sizes": (), "dropout": 0.0, "lr": 1e-2}
    classifier = tiny_classifier(**linear, max_epochs=40, batch_size=8).fit(faces.data, labels)
    assert classifier.classes_.tolist() == ["old", "young"]
    probabilities = classifier.predict_proba(faces.data)
    assert probabilities.shape == (40, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(40), abs=1e-5)
    assert classifier.score(faces.data, labels) > 0.8


@pytest.mark.parametrize("trainable", ["output", "block5", "all"])
def test_trains_from_the_layer_asked(faces, labels, trainable):
    options = {"trainable": trainable, "hidden_layer_sizes": (), "max_epochs": 1}
    classifier = tiny_classifier(backbone="vgg16", **options).fit(faces.data, labels)
    n_trained = sum(p.numel() for p in classifier.net_.module_.parameters())
    block5 = 3 * (512 * 512 * 9 + 512)
    head = 512 * 2 + 2
    expected = {"output": head, "block5": head + block5, "all": head + 14_714_688}
    assert n_trained == expected[trainable]
    assert classifier.predict_proba(faces.data).shape == (40, 2)


def test_same_random_state_same_bits_and_torchs_generator_untouched(faces, labels):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = tiny_classifier().fit(faces.data, labels)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    second = tiny_classifier().fit(faces.data, labels)
    assert torch.equal(weights_of(first), weights_of(second))
    other = tiny_classifier(random_state=1).fit(faces.data, labels)
    assert not torch.equal(weights_of(first), weights_of(other))
    varied = [tiny_classifier(random_state=None).fit(faces.data, labels) for _ in range(2)]
    assert not torch.equal(*map(weights_of, varied))


def test_learning_rate_is_divided_by_ten_after_epoch_ten_not_before(faces, labels):
    classifier = tiny_classifier(max_epochs=21, lr=1e-3).fit(faces.data, labels)
    rates = [row["lr"] for row in classifier.history_]
    assert rates == pytest.approx([1e-3] * 10 + [1e-4] * 10 + [1e-5])
    constant = tiny_classifier(max_epochs=3, lr_schedule="constant").fit(faces.data, labels)
    assert [row["lr"] for row in constant.history_] == pytest.approx([1e-3] * 3)
    own = tiny_classifier(max_epochs=3, lr_schedule=StepDecay(1, 0.5)).fit(faces.data, labels)
    assert [row["lr"] for row in own.history_] == pytest.approx([1e-3, 5e-4, 2.5e-4])


def held_out_of(faces, fraction):
    """Which images random_state=0 holds out."""
    random = np.random.RandomState(0)
    random.randint(np.iinfo(np.int32).max)
    each = np.arange(len(faces.target))
    return np.flatnonzero(validation_mask(faces.target, each, fraction, random))


def test_the_validation_split_has_every_age_alike():
    ages = np.repeat([1, 5, 30, 80], [400, 200, 100, 10])
    each = np.arange(710)
    held_out = validation_mask(ages, each, 0.1, np.random.RandomState(0))
    assert [held_out[ages == age].sum() for age in (1, 5, 30, 80)] == [40, 20, 10, 1]
    assert (held_out != validation_mask(ages, each, 0.1, np.random.RandomState(1))).any()
    assert validation_mask(ages[:3], each[:3], 0.01, np.random.RandomState(0)).sum() == 1
    assert not validation_mask(ages, each, 0.0, np.random.RandomState(0)).any()


def test_the_validation_split_parts_no_person():
    ages, person = np.repeat([1, 5, 30, 80], 60), np.arange(240) // 3
    held_out = validation_mask(ages, person, 0.1, np.random.RandomState(0))
    assert [held_out[ages == age].sum() for age in (1, 5, 30, 80)] == [6, 6, 6, 6]
    assert not set(person[held_out]) & set(person[~held_out])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sizes", "n_held_out"),
    [
        ([250, *[1] * 50], 30),  # who has most images is trained on
        ([90, 10], 10),
        ([10, 10, 10], 10),
        ([40, *[4] * 10, *[1] * 20], 10),
        ([92, *[1] * 8], 4),
        ([7], 0),
    ],
)
def test_the_validation_split_is_as_large_as_persons_permit(sizes, n_held_out, seed):
    person = np.repeat(np.arange(len(sizes)), sizes)
    ages = np.random.RandomState(seed).randint(1, 90, len(sizes))[person]
    mask = validation_mask(ages, person, 0.1, np.random.RandomState(seed))
    assert mask.sum() == pytest.approx(n_held_out, abs=6)
    assert not set(person[mask]) & set(person[~mask])


def test_automatic_parameters_follow_the_images_that_are_trained_on(faces):
    person = np.arange(30) // 10
    warnings.filterwarnings("ignore", "There are only 30 images")
    model = tiny_model(max_epochs=1, n_components="auto", validation_fraction=0.1)
    model.fit(faces.data[:30], faces.target[:30], groups=person)
    assert len(model.classifier_.held_out_[0]) == 10
    with pytest.warns(UserWarning, match=r"of one person, or identical.*validation_fraction=0"):
        model.fit(faces.data[:30], faces.target[:30], groups=["one"] * 30)


def test_a_fit_validates_on_other_persons_and_other_images(faces):
    n = len(faces.data)
    images, ages = np.concatenate([faces.data, faces.data]), np.tile(faces.target, 2)
    copies = tiny_model(max_epochs=1, validation_fraction=0.25).fit(images, ages)
    held_out = set(copies.classifier_.held_out_[0].tolist())
    assert len(held_out) == 2 * round(n / 4)
    assert {(i + n) % (2 * n) for i in held_out} == held_out
    person = np.arange(n) // 4
    fitted = tiny_model(max_epochs=1, validation_fraction=0.25)
    fitted.fit(faces.data, faces.target, groups=[f"person {i}" for i in person])
    held_out = fitted.classifier_.held_out_[0]
    assert not set(person[held_out]) & set(np.delete(person, held_out))
    with pytest.raises(ValueError, match=r"of one person, or identical.*early_stopping=False"):
        fitted.set_params(classifier__early_stopping=True).fit(
            faces.data, faces.target, groups=[0] * n
        )
    with pytest.raises(ValueError, match=r"groups\[1\] is missing"):
        fitted.fit(faces.data, faces.target, groups=[0, None, *person[2:]])


def test_an_ensemble_averages_its_networks(faces):
    model = tiny_model(n_members=3, validation_fraction=0.25).fit(faces.data, faces.target)
    classifier = model.classifier_
    assert [row["member"] for row in classifier.history_] == [0, 0, 1, 1, 2, 2]
    together = model.predict_dist(faces.data)
    alone = []
    for net in classifier.nets_:
        member = copy.copy(classifier)
        member.nets_, member._ready = [net], None
        alone.append(member.predict_proba(faces.data))
    assert together == pytest.approx(np.mean(alone, axis=0), abs=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    single = tiny_model(validation_fraction=0.25).fit(faces.data, faces.target)
    assert (alone[0] == single.predict_dist(faces.data)).all()


def test_an_ensemble_passes_the_frozen_layers_once(faces, monkeypatch):
    passed = []
    original = FrozenNetwork.__call__
    monkeypatch.setattr(
        FrozenNetwork, "__call__", lambda self, x: passed.extend(x) or original(self, x)
    )
    model = tiny_model(n_members=3, max_epochs=1).fit(faces.data, faces.target)
    assert len(passed) == len(faces.data)
    model.predict(faces.data)
    assert len(passed) == 2 * len(faces.data)


def test_class_weights_are_weights_of_the_images(faces, labels):
    def fit(sample_weight=None, **options):
        classifier = tiny_classifier(validation_fraction=0.0, **options)
        return classifier.fit(faces.data, labels, sample_weight).predict_proba(faces.data)

    balanced = compute_sample_weight("balanced", labels)
    assert (fit(class_weight="balanced") == fit(balanced)).all()
    by_label = {"old": 3.0, "ancient": 9.0}  # young: 1
    assert (fit(class_weight=by_label) == fit(np.where(labels == "old", 3.0, 1.0))).all()
    assert (fit(class_weight="balanced") != fit()).any()


def test_ages_weigh_the_same_where_that_is_asked_for(faces):
    def fit(sample_weight=None, **options):
        binner = AgeBinner(edges)
        model = BinnedAgeRegressor(tiny_classifier(validation_fraction=0.0, **options), binner)
        model.fit(faces.data, ages)
        if sample_weight is not None:
            classifier = clone(model.classifier).fit(
                faces.data,
                model.binner_.transform(ages),
                sample_weight,
                targets=model.binner_.targets(ages),
            )
            return classifier.predict_proba(faces.data)
        return model.predict_dist(faces.data)

    edges, ages = [0, 20, 120], np.round(faces.target) // 8 * 8 + 0.4
    expected = fit(compute_sample_weight("balanced", np.floor(ages)))
    assert (fit(class_weight="balanced_ages") == expected).all()


@pytest.mark.parametrize("weight", [-1, float("nan")])
def test_wrong_class_weights_are_refused(weight, faces, labels):
    with pytest.raises(ValueError, match=r"class_weight=.* must map labels to finite numbers >= 0"):
        tiny_classifier(class_weight={"old": weight}).fit(faces.data, labels)


def test_balanced_ages_need_ages(faces, labels):
    with pytest.raises(ValueError, match="'balanced_ages' needs ages"):
        tiny_classifier(class_weight="balanced_ages").fit(faces.data, labels)


def test_the_learning_rate_of_one_cycle_rises_and_falls(faces, labels):
    seen = []

    class Watch(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training:
                seen.append(net.optimizer_.param_groups[-1]["lr"])

    options = {"batch_size": 4, "max_epochs": 5, "validation_fraction": 0.0, "lr": 1e-3}
    classifier = tiny_classifier(lr_schedule=OneCycle(), callbacks=[Watch()], **options)
    classifier.fit(faces.data, labels)
    assert len(seen) == 50
    assert seen[0] == pytest.approx(4e-5)
    assert max(seen) == seen[10] == pytest.approx(1e-3)
    assert (np.diff(seen[:11]) > 0).all()
    assert (np.diff(seen[10:]) < 0).all()
    assert 0 < seen[-1] < 1e-5
    assert classifier.history_[0]["lr"] == seen[9]


def test_learning_rates_of_blocks(faces, labels, vgg11_file):
    def moved(**options):
        options = {"trainable": "block4", "max_epochs": 1, "optimizer": "sgd"} | options
        classifier = tiny_classifier(weights=vgg11_file, weight_decay=0.0, **options)
        classifier.fit(faces.data, labels)
        after, before = classifier.net_.module_.state_dict(), load_file(vgg11_file)
        return [
            (after[f"features.{i}.weight"] - before[f"features.{i}.weight"]).abs().sum().item()
            for i in (11, 16)
        ]

    whole, slow = moved(lr=0.1), moved(lr=0.1, lr_ratio=0.1)
    assert slow == pytest.approx([0.1 * part for part in whole], rel=0.1)
    assert moved(lr_ratio={"block4": 0.0, "block5": 1.0})[0] == 0
    assert moved(lr_ratio={"block4": 0.0, "block5": 1.0})[1] > 0


def test_the_history_has_the_learning_rate_of_the_output_layer(faces, labels):
    options = {"trainable": "block5", "lr_ratio": {"classifier": 1.5, "block5": 0.1}, "lr": 1e-3}
    history = tiny_classifier(**options).fit(faces.data, labels).history_
    assert history[-1]["lr"] == pytest.approx(1.5e-3)


def test_a_scheduler_of_ones_own_sets_the_learning_rate(faces, labels):
    halve = LRScheduler("StepLR", step_size=1, gamma=0.5)
    options = {"lr_schedule": "constant", "callbacks": [halve], "max_epochs": 3, "lr": 1e-3}
    history = tiny_classifier(**options).fit(faces.data, labels).history_
    assert [row["lr"] for row in history] == pytest.approx([1e-3, 5e-4, 2.5e-4])


@pytest.mark.parametrize("ratio", [{"block6": 1}, {"block5": -1}, {"block5": "low"}])
def test_wrong_learning_rates_of_blocks_are_refused(ratio, faces, labels):
    with pytest.raises(ValueError, match=r"lr_ratio=.* must map blocks to numbers >= 0"):
        tiny_classifier(lr_ratio=ratio).fit(faces.data, labels)


def test_history_has_losses_and_the_error_in_years(faces):
    history = tiny_model().fit(faces.data, faces.target).classifier_.history_
    assert [row["epoch"] for row in history] == [1, 2]
    for row in history:
        assert 0 < row["train_loss"] < 20
        assert 0 < row["valid_loss"] < 20
        assert 0 < row["valid_mae"] < 100
    unvalidated = tiny_model(validation_fraction=0.0).fit(faces.data, faces.target)
    assert "valid_loss" not in unvalidated.classifier_.history_[0]
    assert "valid_mae" not in unvalidated.classifier_.history_[0]


def test_validation_mae_is_that_of_the_held_out_images(faces):
    model = tiny_model(validation_fraction=0.25, max_epochs=1)
    model.fit(faces.data, faces.target)
    recorded = model.classifier_.history_[-1]["valid_mae"]
    held_out = held_out_of(faces, 0.25)
    errors = np.abs(model.predict(faces.data[held_out]) - faces.target[held_out])
    assert recorded == pytest.approx(errors.mean(), rel=1e-4)


def test_early_stopping_takes_the_best_epoch(faces):
    model = tiny_model(early_stopping=2, max_epochs=60, lr=3e-3, validation_fraction=0.25)
    history = model.fit(faces.data, faces.target).classifier_.history_
    errors = [row["valid_mae"] for row in history]
    assert len(history) < 60
    assert min(errors) in errors[-3:]
    held_out = held_out_of(faces, 0.25)
    kept = np.abs(model.predict(faces.data[held_out]) - faces.target[held_out]).mean()
    assert kept == pytest.approx(min(errors), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", torch.optim.RMSprop])
def test_optimizers_take_all_their_parameters(faces, labels, optimizer):
    fitted = [
        tiny_classifier(optimizer=optimizer, batch_size=8, **options).fit(faces.data, labels)
        for options in ({}, {"weight_decay": 0.5}, {"lr": 1e-2})
    ]
    distinct = {weights_of(classifier).sum().item() for classifier in fitted}
    assert len(distinct) == 3


def test_an_optimizer_is_configured_by_a_partial(faces, labels):
    def fit(optimizer):
        classifier = clone(tiny_classifier(optimizer=optimizer, batch_size=8))
        return weights_of(classifier.fit(faces.data, labels))

    same = partial(torch.optim.SGD, momentum=0.9)
    assert torch.equal(fit(same), fit("sgd"))
    assert not torch.equal(fit(partial(torch.optim.SGD, momentum=0.5)), fit("sgd"))


def test_an_optimizer_without_weight_decay_says_so(faces, labels):
    with pytest.raises(ValueError, match=r"Rprop has no weight_decay\. Pass weight_decay=0"):
        tiny_classifier(optimizer=torch.optim.Rprop).fit(faces.data, labels)


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.0},
        {"batch_size": 8},
        {"image_size": 64},
        {"hidden_layer_sizes": (8, 8)},
        {"validation_fraction": 0.5},
        {"precision": "bfloat16"},
        {"precision": "auto"},  # keeps activations in float16
        {"n_components": 8},
    ],
)
def test_no_parameter_is_ignored(faces, labels, options):
    plain = {"max_epochs": 1, "precision": "float32"}
    base = tiny_classifier(**plain).fit(faces.data, labels).predict_proba(faces.data)
    other = tiny_classifier(**plain | options).fit(faces.data, labels)
    assert (other.predict_proba(faces.data) != base).any()


def test_reduced_precision_moves_probabilities_little(faces, labels):
    exact, half = (
        tiny_classifier(precision=p).fit(faces.data, labels).predict_proba(faces.data)
        for p in ("float32", "bfloat16")
    )
    assert np.abs(exact - half).max() < 0.05


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_layer_sizes": ()},
        {"trainable": "output", "hidden_layer_sizes": ()},
        {"precision": "float32"},
    ],
)
def test_components_leave_a_network_over_all_activations(faces, labels, options):
    classifier = tiny_classifier(n_components=8, lr=1e-2, max_epochs=5, **options)
    classifier.fit(faces.data, labels)
    width = 16 if "hidden_layer_sizes" not in options else 2
    dense = next(m for m in classifier.net_.module_.classifier if isinstance(m, torch.nn.Linear))
    assert dense.weight.shape == (width, 512)
    again = clone(classifier).fit(faces.data, labels)
    expected = classifier.predict_proba(faces.data)
    assert (again.predict_proba(faces.data) == expected).all()
    restored = pickle.loads(pickle.dumps(classifier))
    assert (restored.predict_proba(faces.data) == expected).all()


def test_threads_fit_what_one_thread_fits(faces, labels):
    def fit(seed):
        return tiny_classifier(random_state=seed, max_epochs=1).fit(faces.data, labels)

    expected = [fit(seed).predict_proba(faces.data) for seed in range(3)]
    n_threads = torch.get_num_threads()
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(fit, range(3)))
    for classifier, probabilities in zip(found, expected, strict=True):
        assert (classifier.predict_proba(faces.data) == probabilities).all()
    assert torch.get_num_threads() == n_threads


def test_a_number_of_threads_changes_no_bit_of_a_small_suffix(faces, labels):
    found = []
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            classifier = tiny_classifier(n_components=8).fit(faces.data, labels)
            found.append(classifier.predict_proba(faces.data))
    finally:
        torch.set_num_threads(before)
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_random_layers_that_no_seed_fixes_are_not_kept(faces, labels, tmp_path, random_state):
    classifier = tiny_classifier(random_state=random_state, feature_cache=tmp_path, max_epochs=1)
    classifier.fit(faces.data, labels).predict(faces.data)
    assert list(tmp_path.iterdir()) == []


def test_sample_weight_weighs_the_loss(faces, labels):
    young = (labels == "young").astype(float)
    weighted = tiny_classifier(max_epochs=10, batch_size=8).fit(
        faces.data, labels, sample_weight=1 + 99 * young
    )
    plain = tiny_classifier(max_epochs=10, batch_size=8).fit(faces.data, labels)
    share = [c.predict_proba(faces.data)[:, 1].mean() for c in (weighted, plain)]
    assert share[0] > share[1] + 0.1
    with pytest.raises(ValueError, match="zero"):
        tiny_classifier().fit(faces.data, labels, sample_weight=np.zeros(40))


def test_user_callbacks_run_on_a_copy(faces, labels):
    class Counter(Callback):
        epochs = 0
        copies = []

        def on_epoch_end(self, net, **kwargs):
            self.epochs += 1
            net.history.record("seen", self.epochs)

    callback = Counter()
    classifier = tiny_classifier(callbacks=[callback]).fit(faces.data, labels)
    assert [row["seen"] for row in classifier.history_] == [1, 2]
    assert callback.epochs == 0
    assert classifier.callbacks == [callback]


@pytest.mark.parametrize("moment", ["on_batch_begin", "on_epoch_end"])
def test_ctrl_c_leaves_no_half_trained_network(faces, labels, moment):
    class Interrupt(Callback):
        pass

    def press(self, net, **kwargs):
        if len(net.history) == 2:
            signal.raise_signal(signal.SIGINT)

    setattr(Interrupt, moment, press)
    classifier = tiny_classifier(callbacks=[Interrupt()], max_epochs=4)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(faces.data, labels)
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(NotFittedError):
        classifier.predict(faces.data)


@pytest.mark.parametrize("options", [{}, {"max_epochs": 1, "validation_fraction": 0}])
def test_divergence_is_an_error(faces, labels, options):
    with pytest.raises(ValueError, match=r"Training diverged at epoch 1 with lr=1e\+38.* Lower lr"):
        tiny_classifier(lr=1e38, optimizer="sgd", **options).fit(faces.data, labels)


def test_verbose_shows_progress_and_can_be_pickled(faces, labels, capsys):
    bars = tiny_classifier(verbose=1).fit(faces.data, labels)
    assert "epochs" in capsys.readouterr().err
    tiny_classifier(verbose=2).fit(faces.data, labels)
    assert "train_loss" in capsys.readouterr().out
    pickle.loads(pickle.dumps(bars))


def test_starts_from_a_weights_file(faces, labels, vgg11_file):
    classifier = tiny_classifier(weights=vgg11_file).fit(faces.data, labels)
    expected = load_file(vgg11_file)["features.18.weight"]
    assert torch.equal(classifier.frozen_.features[18].weight, expected)


def test_few_images_are_enough(faces):
    for n in (1, 2, 4):
        tiny_classifier().fit(faces.data[:n], np.arange(n)).predict(faces.data)
    tiny_classifier(early_stopping=True).fit(faces.data[:4], [0, 1, 0, 1])
    with pytest.raises(ValueError, match="can be held out for validation"):
        tiny_classifier(early_stopping=True).fit(faces.data[:1], [0])


def test_what_changes_after_fit_does_not_change_the_model(faces, labels):
    classifier = tiny_classifier(precision="float32").fit(faces.data, labels)
    expected = classifier.predict_proba(faces.data)
    assert (classifier.set_params(image_size=64).predict_proba(faces.data) == expected).all()
    classifier.set_params(runtime__precision="bfloat16")
    assert (classifier.predict_proba(faces.data) != expected).any()


def test_unreadable_images_raise_before_training_or_are_skipped(paths, labels, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    X = [*paths[:20], str(tmp_path / "broken.jpg"), *paths[20:]]
    y = np.insert(labels, 20, "old")
    classifier = tiny_classifier()
    with pytest.raises(ImageError, match=r"broken.jpg \(item 20\) is not a readable image"):
        classifier.fit(X, y)
    with pytest.raises(NotFittedError):
        classifier.predict(X)
    classifier.set_params(on_error="skip")
    with pytest.warns(UserWarning, match=r"1 of 41 images cannot be read .*broken.jpg") as caught:
        classifier.fit(X, y)
    assert len(caught) == 1
    assert classifier.n_skipped_ == 1
    with pytest.warns(UserWarning, match="get NaN"):
        probabilities = classifier.predict_proba(X)
    assert np.isnan(probabilities[20]).all()
    # What is skipped changes nothing for the others, to the bit.
    alone = tiny_classifier().fit(paths, labels)
    assert (np.delete(probabilities, 20, axis=0) == alone.predict_proba(paths)).all()
    with pytest.warns(UserWarning, match="get NaN"):
        assert classifier.predict(X)[20] is None
    with pytest.raises(ImageError, match="None of the 2 images can be read"):
        classifier.fit([str(tmp_path / "broken.jpg")] * 2, ["old", "young"])


def test_the_accuracy_is_of_the_images_that_are_read(paths, labels, tmp_path):
    classifier = tiny_classifier(on_error="skip").fit(paths, labels)
    expected = classifier.score(paths, labels)
    with pytest.warns(UserWarning, match="1 of 41 images cannot be read"):
        assert classifier.score([*paths, tmp_path / "a.jpg"], [*labels, "old"]) == expected
    with (
        pytest.warns(UserWarning, match="1 of 1 images cannot be read"),
        pytest.raises(ValueError, match="None of the 1 images has a prediction"),
    ):
        classifier.score([tmp_path / "a.jpg"], ["old"])


def test_an_unreadable_image_has_its_position(fitted, paths, tmp_path):
    with pytest.raises(ImageError) as caught:
        fitted.predict([*paths[:3], tmp_path / "a.jpg"])
    assert caught.value.position == 3


def test_parameters_of_what_is_not_there_cannot_be_set():
    with pytest.raises(ValueError, match=r"augment=None has no parameters to set\. Pass augment=J"):
        tiny_model().set_params(classifier__augment__n_copies=2)


def test_skipped_images_have_nan_ages(paths, faces):
    model = tiny_model(on_error="skip").fit(paths, faces.target)
    X = [paths[0], "missing.jpg", paths[1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ages, std = model.predict(X, return_std=True)
        interval = model.predict_interval(X)
        modes = {}
        for decode in ("mean", "median", "mode"):
            modes[decode] = model.set_params(decode=decode).predict(X)
    assert np.isnan([ages[1], std[1], *interval[1], *(m[1] for m in modes.values())]).all()
    assert np.isfinite([ages[0], std[2], *interval[0], *(m[2] for m in modes.values())]).all()


# The invariants of check_estimator, for images:


def test_clone_and_refit_give_the_same(faces, fitted):
    twin = clone(fitted).fit(faces.data, faces.target)
    expected = fitted.predict(faces.data)
    assert (twin.predict(faces.data) == expected).all()
    assert (twin.fit(faces.data, faces.target).predict(faces.data) == expected).all()


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float32"])
def test_subsets_and_orders_give_the_same_bits(faces, fitted, precision):
    fitted = copy.deepcopy(fitted)
    fitted.classifier_.set_params(runtime__precision=precision)
    together = fitted.predict_dist(faces.data)
    alone = [fitted.predict_dist(faces.data[i : i + 1])[0] for i in range(0, 40, 5)]
    assert (together[::5] == alone).all()
    ages = fitted.predict(faces.data)
    assert ages.dtype == np.float32
    order = np.random.default_rng(0).permutation(40)
    assert (fitted.predict(faces.data[order]) == ages[order]).all()
    assert (fitted.predict(faces.data[:7]) == ages[:7]).all()


def test_neither_parameters_nor_input_are_changed(faces):
    model = tiny_model()
    before = {k: repr(v) for k, v in model.get_params().items()}
    X, y = faces.data.copy(), faces.target.copy()
    model.fit(X, y).predict(X)
    assert {k: repr(v) for k, v in model.get_params().items()} == before
    assert (faces.data == X).all()
    assert (y == faces.target).all()


def test_unfitted_models_say_so(faces):
    for model in (tiny_model(), tiny_classifier()):
        with pytest.raises(NotFittedError):
            model.predict(faces.data)


def test_every_kind_of_input_gives_the_same_ages(faces, paths, fitted):
    import pandas as pd

    expected = fitted.predict(faces.data)
    for X in (
        list(faces.data),
        paths,
        np.array(paths),
        pd.Series(paths),
        [Image.fromarray(a) for a in faces.data],
        faces.data / 255,
    ):
        assert (fitted.predict(X) == expected).all()
    from_paths = clone(fitted).fit(paths, faces.target)
    assert (from_paths.predict(paths) == expected).all()


def test_pickles_predict_the_same_in_a_new_process(faces, fitted, tmp_path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted))
    joblib.dump(fitted, tmp_path / "model.joblib")
    np.save(tmp_path / "images.npy", faces.data)
    code = (
        "import joblib, pickle, numpy as np\n"
        "images = np.load('images.npy')\n"
        "models = pickle.load(open('model.pkl', 'rb')), joblib.load('model.joblib')\n"
        "np.save('ages.npy', [model.predict(images) for model in models])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    expected = fitted.predict(faces.data)
    assert (np.load(tmp_path / "ages.npy") == [expected, expected]).all()


def test_a_pickle_holds_the_parameters_and_no_optimizer_state(faces, labels):
    classifier = tiny_classifier(trainable="block5", optimizer="adam", max_epochs=1)
    classifier.fit(faces.data, labels)
    parts = (classifier.frozen_, classifier.net_.module_)
    n_bytes = sum(4 * p.numel() for part in parts for p in part.parameters())
    assert len(pickle.dumps(classifier)) < 1.02 * n_bytes
    assert pickle.loads(pickle.dumps(classifier)).history_ == classifier.history_


def test_a_model_of_an_absent_device_predicts_on_the_cpu(faces, fitted):
    model = pickle.loads(pickle.dumps(fitted))
    model.classifier_.set_params(runtime__device="cuda:7")
    with pytest.warns(UserWarning, match="device='cuda:7' is not available here"):
        ages = model.predict(faces.data)
    assert (ages == fitted.predict(faces.data)).all()
    tensors = [*model.classifier_.net_.module_.parameters(), *model.classifier_.frozen_.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "imagenett"}, "weights='imagenett' is neither 'imagenet', None"),
        ({"device": "gpu"}, "device='gpu' is not available here"),
        ({"precision": "float64"}, "'precision' parameter"),
        ({"trainable": "block6"}, "'trainable' parameter"),
        ({"image_size": 16}, "'image_size' parameter"),
        ({"optimizer": "lbfgs"}, "'optimizer' parameter"),
        ({"on_error": "ignore"}, "'on_error' parameter"),
        ({"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes=\(0,\)"),
        ({"trainable": "output"}, r"leave the fresh hidden_layer_sizes=\(16,\) untrained"),
        ({"early_stopping": True, "validation_fraction": 0}, "Pass a validation_fraction"),
        ({"optimizer": dict}, "is not a torch optimizer"),
        ({"device": "meta"}, "device='meta' is not available"),
        ({"optimizer": len}, "optimizer=<built-in function len> is not a torch optimizer"),
        ({"image_size": (32, 16)}, r"image_size=\(32, 16\) must be a number of pixels, or a pair"),
        ({"image_size": (16, 32)}, r"image_size=\(16, 32\) must be"),
        ({"image_size": (32, 40, 48)}, r"image_size=\(32, 40, 48\) must be"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"n_components": 37}, r"n_components=37 exceeds the number of training images \(36\)"),
        (
            {"n_components": 20, "trainable": "output", "weights": "x"},
            r"activations per image \(16\)",
        ),
        (
            {"n_components": 8, "trainable": "block5"},
            "reduces the input of dense layers, but trainable=",
        ),
        ({"n_components": 8, "hidden_layer_sizes": None}, "needs fresh layers"),
        ({"n_jobs": 0}, "n_jobs=0 is not valid"),
    ],
)
def test_wrong_parameters_are_refused(faces, labels, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_classifier(**options).fit(faces.data, labels)


def test_lengths_must_agree(faces, labels):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        tiny_classifier().fit(faces.data, labels[:-1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        tiny_model().fit(faces.data, faces.target[:-1])
    with pytest.raises(ValueError, match=r"X is one image \(a.jpg\)"):
        tiny_model(n_bins=2).fit("a.jpg", [30, 40])
    with pytest.raises(ValueError, match="egative"):
        tiny_classifier().fit(faces.data, labels, sample_weight=-np.ones(40))


def test_defaults_are_the_papers():
    parameters = VGG16Classifier().get_params()
    expected = {
        "weights": "imagenet", "dropout": 0.5,
        "lr_schedule": None, "image_size": 224, "optimizer": "sgd",
    }  # fmt: skip
    assert parameters | expected == parameters
    assert StepDecay().get_params() == {"step": 10, "gamma": 0.1}


def test_parameters_of_the_default_schedule_can_be_searched(faces, labels):
    classifier = tiny_classifier().set_params(lr_schedule__step=1)
    assert classifier.lr_schedule.get_params() == {"step": 1, "gamma": 0.1}
    rates = [row["lr"] for row in classifier.fit(faces.data, labels).history_]
    assert rates == pytest.approx([1e-3, 1e-4])
    for schedule in (StepDecay(step=0), OneCycle(warmup=1.0)):
        with pytest.raises(ValueError, match=f"of {type(schedule).__name__} must be"):
            tiny_classifier(lr_schedule=schedule).fit(faces.data, labels)


def test_unreadable_images_are_refused_before_the_work(paths, tmp_path, monkeypatch):
    bad = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in bad:
        path.write_bytes(b"no image")
    images = [*paths, *bad]
    passed = []
    monkeypatch.setattr(FrozenNetwork, "__call__", lambda self, pixels: passed.append(pixels))
    with pytest.raises(ImageError, match=r"2 images cannot be read(.|\n)*a.jpg(.|\n)*b.jpg"):
        tiny_classifier().fit(images, np.arange(42) % 4)
    assert passed == []
    with pytest.raises(ImageError, match=r"a.jpg \(item 40\)"):
        tiny_classifier().fit(images[:41], np.arange(41) % 4)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("test_augment", "flip"), ("on_error", "ignore"), ("runtime__precision", "half")],
)
def test_parameters_that_act_at_prediction_are_checked_there(faces, fitted, parameter, value):
    classifier = copy.deepcopy(fitted.classifier_).set_params(**{parameter: value})
    for predict in (classifier.predict, classifier.predict_proba):
        with pytest.raises(ValueError, match=f"'{parameter.split('__')[-1]}' parameter"):
            predict(faces.data)


@pytest.mark.parametrize(
    "options", [{}, {"trainable": "block5"}, {"n_components": 8}, {"loss": "l1"}]
)
def test_the_skorch_net_predicts_from_activations(faces, options):
    model = tiny_model(4, max_epochs=1, precision="float32", **options)
    model.fit(faces.data, faces.target)
    classifier = pickle.loads(pickle.dumps(model.classifier_))
    frozen = classifier.frozen_(torch.from_numpy(faces.data))
    for net in (model.classifier_.net_, classifier.net_):
        expected = classifier.predict_proba(faces.data)
        assert net.predict_proba(frozen.numpy()) == pytest.approx(expected, abs=1e-6)
        assert net.forward(frozen[:4]).shape[0] == 4
        assert net.predict(frozen.numpy()).shape[0] == 40


@pytest.mark.parametrize("scale", [1e-320, 8e307])
def test_tiny_and_huge_weights_count_by_their_proportions(faces, scale):
    weight = np.tile([1.0, 2.0], 20)
    expected = tiny_model(4).fit(faces.data, faces.target, sample_weight=weight)
    found = tiny_model(4).fit(faces.data, faces.target, sample_weight=weight * scale)
    assert found.predict(faces.data) == pytest.approx(expected.predict(faces.data))


def test_nothing_underflows_into_an_error(faces):
    with np.errstate(all="raise"):
        model = tiny_model(4).set_params(binner__encoding="sord", binner__sigma=0.1)
        model.fit(faces.data, faces.target)
        assert np.isfinite(model.predict_interval(faces.data)).all()


def test_images_cropped_otherwise_than_in_training_are_told_of(faces):
    def crops(margin):
        cropper = FaceCropper(lambda pixels: [(8, 8, 16, 16, 1.0)], size=32, margin=margin)
        return cropper.transform(list(faces.data))

    model = tiny_model(4, max_epochs=1).fit(crops(0.4), faces.target)
    model.predict(crops(0.4))
    with pytest.warns(UserWarning, match=r"Fit: .*margin of 0\.4.*Now: .*margin of 0\.1"):
        model.predict(crops(0.1))
    with pytest.warns(UserWarning, match=r"Now: images as they are"):
        model.predict(faces.data)
    with pytest.warns(UserWarning, match=r"Fit: images as they are\. Now: the strongest"):
        tiny_model(4, max_epochs=1).fit(faces.data, faces.target).predict(crops(0.4))
    mixed = [*crops(0.4)[:20], *faces.data[20:]]
    tiny_model(4, max_epochs=1).fit(mixed, faces.target).predict(faces.data)


_FORKED = """
import multiprocessing, sys, warnings
import numpy as np
import torch
import skage
from skage.datasets import make_faces
from tests.conftest import tiny_model

torch.set_num_threads(2)
faces = make_faces(40, image_size=32, random_state=0)
model, file = tiny_model().fit(faces.data, faces.target), sys.argv[1]
expected = model.predict(faces.data)
torch.ones(1000, 1000) @ torch.ones(1000, 1000)  # on two threads

def work(queue):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ages = model.predict(faces.data)
        refitted = tiny_model().fit(faces.data, faces.target).predict(faces.data)
        model.save(file)
        model.classifier_.net_.predict_proba(np.ones((300, 512), np.float32))
    queue.put([ages, refitted, [str(warning.message) for warning in told]])

context = multiprocessing.get_context("fork")
queue = context.Queue()
context.Process(target=work, args=(queue,), daemon=True).start()
ages, refitted, told = queue.get(timeout=60)
assert (skage.load(file).predict(faces.data) == expected).all()
assert (ages == expected).all() and (refitted == expected).all()
assert len(told) == 1 and "in a forked process" in told[0] and "spawn" in told[0], told
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_predicts_fits_and_saves(tmp_path):
    command = [sys.executable, "-c", _FORKED, tmp_path / "age.skage"]
    subprocess.run(command, check=True, timeout=100)


def test_a_module_that_cannot_be_imported_says_why(monkeypatch):
    def fail(name):
        raise AttributeError("'NoneType' object has no attribute 'split'")  # as python -OO does

    monkeypatch.setattr(importlib, "import_module", fail)
    for name in ("presets", "VGG16Classifier"):
        with pytest.raises(ImportError, match=f"skage.{name} cannot be imported: 'NoneType'"):
            skage.__getattr__(name)


def test_the_automatic_learning_rate_knows_sgd_in_every_form():
    for optimizer in ("sgd", torch.optim.SGD, partial(torch.optim.SGD, momentum=0.8)):
        assert auto.learning_rate(optimizer, compressed=True) == 0.01
    assert auto.learning_rate("adamw", compressed=True) == 5e-4
