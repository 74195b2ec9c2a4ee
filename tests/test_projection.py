import itertools

import numpy as np
import pytest
import torch
from torch import nn

from skage import clear_memory
from skage._activations import projection
from skage._activations.features import Collected
from skage._activations.projection import project
from skage._files.store import open_store
from skage._memory import projections

CPU = torch.device("cpu")


def collected(array):
    keys = [row.tobytes() for row in array]
    return Collected(array, np.arange(len(array)), keys, np.arange(len(array)))


@pytest.fixture(autouse=True)
def nothing_is_known():
    clear_memory()


@pytest.fixture
def images():
    """60 rows of 40 numbers, nearly all of whose variance lies in 5 directions."""
    rng = np.random.default_rng(0)
    rows = 10 * rng.normal(size=(60, 5)) @ rng.normal(size=(5, 40)) + rng.normal(size=(60, 40)) + 3
    return collected(rows.astype(np.float16))


def test_without_a_store_nothing_is_kept_after_a_fit(images):
    project(images, np.ones(60, dtype=bool), 5, CPU)
    assert not projections


def test_the_variance_is_kept(images):
    everything = np.ones(60, dtype=bool)
    found, rows = project(images, everything, 5, CPU)
    centred = images.array.astype(float) - images.array.astype(float).mean(axis=0)
    inside = centred @ found.components.astype(float)
    assert (inside**2).sum() > 0.98 * (centred**2).sum()
    assert rows.shape == (60, 5)
    assert np.square(rows.astype(float)).mean() == pytest.approx(1, rel=1e-2)


def test_held_out_images_do_not_affect_the_projection(images):
    is_training = np.arange(60) < 40
    first, first_rows = project(images, is_training, 5, CPU)
    changed = images.array.copy()
    changed[40:] = 100 * changed[40:, ::-1]
    second, second_rows = project(collected(changed), is_training, 5, CPU)
    assert (first.components == second.components).all()
    assert (first.mean == second.mean).all()
    assert first.scale == second.scale
    assert (first_rows[:40] == second_rows[:40]).all()
    assert (first_rows[40:] != second_rows[40:]).any()


@pytest.mark.parametrize("hidden", [(6,), ()])
def test_a_merged_projection_does_not_change_the_outputs(images, hidden):
    found, rows = project(images, np.ones(60, dtype=bool), 5, CPU)
    sizes = [5, *hidden, 3]
    layers = [nn.Dropout(0.5)]
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.Tanh()]
    layers = nn.Sequential(*layers).eval()
    before = layers(torch.from_numpy(rows).float())
    found.merge_into(layers)
    after = layers(torch.from_numpy(images.array).float())
    assert after.detach().numpy() == pytest.approx(before.detach().numpy(), abs=5e-3)


def test_processes_that_share_a_store_learn_a_projection_once(images, tmp_path, monkeypatch):
    calls, learn = [], projection._learn
    monkeypatch.setattr(projection, "_learn", lambda *args: calls.append(1) or learn(*args))
    training = np.arange(60) < 50
    with open_store(tmp_path) as store:
        first, first_rows = project(images, training, 5, CPU, store=store)
        assert project(images, training, 5, CPU, store=store)[1] is first_rows
        clear_memory()  # as in another process
        third, third_rows = project(images, training, 5, CPU, store=store)
        assert len(calls) == 1
        assert (first.mean == third.mean).all()
        assert (first.components == third.components).all()
        assert first.scale == third.scale
        assert (first_rows == third_rows).all()
        project(images, ~training, 5, CPU, store=store)
        project(images, training, 6, CPU, store=store)
        assert len(calls) == 3


@pytest.mark.parametrize(("n_components", "n_training"), [(41, 60), (11, 10)])
def test_more_components_than_images_or_activations_is_an_error(images, n_components, n_training):
    with pytest.raises(ValueError, match=f"n_components={n_components} exceeds"):
        project(images, np.arange(60) < n_training, n_components, CPU)
