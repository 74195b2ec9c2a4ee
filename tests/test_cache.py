import os
import sqlite3

import numpy as np
import pytest
import torch

from skage import cache, network
from skage.images import ImageError
from skage.store import open_store


@pytest.fixture(scope="module")
def prefix():
    torch.manual_seed(0)
    part, _ = network.build(
        2, weights=None, trainable="classifier", hidden_layer_sizes=(), dropout=0, image_size=32
    )
    return cache.FrozenPrefix(part, 32, torch.float32, torch.device("cpu"))


@pytest.fixture
def calls(prefix, monkeypatch):
    """How many images each forward pass took."""
    seen, original = [], cache.FrozenPrefix.__call__

    def counting(self, pixels):
        seen.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(cache.FrozenPrefix, "__call__", counting)
    return seen


def activations(images, prefix, **options):
    found = cache.collect_activations(images, prefix, **options)
    return found.array[found.rows]


def test_each_image_is_computed_once_across_stores_and_orders(paths, prefix, calls, tmp_path):
    with open_store(tmp_path / "new" / "folder") as store:
        found = cache.collect_activations(paths, prefix, store=store)
    first = found.array[found.rows]
    assert sum(calls) == len(paths)
    assert found.positions.tolist() == list(range(len(paths)))
    calls.clear()
    with open_store(tmp_path / "new" / "folder") as store:
        again = activations(paths[::-1], prefix, store=store)
    assert sum(calls) <= 1  # a blank image tells the shape
    assert (again[::-1] == first).all()
    assert first.dtype == np.float16


def test_other_weights_or_sizes_are_other_entries(paths, prefix, tmp_path):
    torch.manual_seed(1)
    options = {"trainable": "classifier", "hidden_layer_sizes": (), "dropout": 0}
    part, _ = network.build(2, weights=None, image_size=32, **options)
    retrained = cache.FrozenPrefix(part, 32, prefix.dtype, prefix.device)
    larger = cache.FrozenPrefix(prefix.part, 64, prefix.dtype, prefix.device)
    exact = cache.FrozenPrefix(prefix.part, 32, prefix.dtype, prefix.device, exact=True)
    keys = {p.key(b"image") for p in (prefix, retrained, larger, exact)}
    assert len(keys) == 4


def test_float16_activations_are_close_to_float32(paths, prefix):
    exact = cache.FrozenPrefix(prefix.part, 32, prefix.dtype, prefix.device, exact=True)
    half = activations(paths, prefix)
    full = activations(paths, exact)
    assert full.dtype == np.float32
    assert np.allclose(half, full, rtol=1e-3, atol=1e-4)


def test_a_damaged_entry_is_computed_again(paths, prefix, calls, tmp_path):
    with open_store(tmp_path) as store:
        first = activations(paths, prefix, store=store)
    database = sqlite3.connect(tmp_path / "activations.sqlite")
    with database:
        database.execute("UPDATE content SET data = zeroblob(length(data)) WHERE id <= 3")
    database.close()
    calls.clear()
    with open_store(tmp_path) as store:
        again = activations(paths, prefix, store=store)
    assert (again == first).all()
    assert sum(calls) == 3


def test_a_store_that_fails_warns_once_and_the_work_goes_on(paths, prefix, tmp_path):
    (tmp_path / "activations.sqlite").write_bytes(b"not a database" * 1000)
    with (
        pytest.warns(UserWarning, match="feature cache in .* cannot be used") as caught,
        open_store(tmp_path) as store,
    ):
        found = activations(paths, prefix, store=store)
    assert len(caught) == 1
    assert len(found) == len(paths)


def test_auto_is_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with open_store("auto") as store:
        assert os.path.isdir(store.folder)
        assert "skage" in store.folder


def test_unreadable_images_raise_or_are_reported(paths, prefix):
    X = [paths[0], "missing.jpg", paths[1]]
    with pytest.raises(ImageError, match=r"missing.jpg \(item 1\)"):
        cache.collect_activations(X, prefix)
    found = cache.collect_activations(X, prefix, on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert len(found.rows) == 2
    assert "missing.jpg" in str(found.errors[0])


def test_a_broken_image_twice_is_two_errors(prefix, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    X = [str(tmp_path / "broken.jpg")] * 2
    chunk = next(cache.iter_activations(X, prefix, on_error="skip"))
    assert ["(item 0)" in str(e) for e in chunk.errors] == [True, False]
    assert chunk.positions == []


def test_one_image_twice_is_computed_once(paths, prefix, calls):
    found = activations([paths[0]] * 5, prefix)
    assert calls == [1]
    assert len(found) == 5
    assert (found == found[0]).all()
