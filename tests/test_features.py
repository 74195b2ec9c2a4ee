import json
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skage._activations.features import Features, Reading
from skage._activations.frozen import FrozenNetwork
from skage._activations.pool import ActivationPool, shared_pool
from skage._files.store import open_store
from skage._images import reading as images
from skage._images.reading import ImageError

from .conftest import build_network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    part, _ = build_network(
        2, weights=None, trainable="classifier", hidden_layer_sizes=(), dropout=0, image_size=32
    )
    return FrozenNetwork(part, 32, torch.float32, torch.device("cpu"))


@pytest.fixture
def calls(network, monkeypatch):
    """How many images each forward pass took."""
    seen, original = [], FrozenNetwork.__call__

    def counting(self, pixels):
        seen.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(FrozenNetwork, "__call__", counting)
    return seen


def features(network, store=None, pool=None, **reading):
    return Features(network, store, pool, Reading(**reading))


def collect(X, network, **options):
    return features(network, **options).collect(X)


def activations(X, network, **options):
    found = collect(X, network, **options)
    return found.array[found.rows]


def test_each_image_is_computed_once_across_stores_and_orders(paths, network, calls, tmp_path):
    with open_store(tmp_path / "new" / "folder") as store:
        found = collect(paths, network, store=store)
    first = found.array[found.rows]
    assert sum(calls) == len(paths)
    assert found.positions.tolist() == list(range(len(paths)))
    calls.clear()
    with open_store(tmp_path / "new" / "folder") as store:
        again = activations(paths[::-1], network, store=store)
    assert sum(calls) <= 1  # a blank image tells the shape
    assert (again[::-1] == first).all()
    assert first.dtype == np.float16


def test_other_weights_or_sizes_have_separate_entries(paths, network, tmp_path):
    torch.manual_seed(1)
    options = {"trainable": "classifier", "hidden_layer_sizes": (), "dropout": 0}
    part, _ = build_network(2, weights=None, image_size=32, **options)
    retrained = FrozenNetwork(part, 32, network.dtype, network.device)
    larger = FrozenNetwork(network.layers, 64, network.dtype, network.device)
    exact = FrozenNetwork(network.layers, 32, network.dtype, network.device, exact=True)
    keys = {p.key(b"image") for p in (network, retrained, larger, exact)}
    assert len(keys) == 4


def test_float16_activations_are_close_to_float32(paths, network):
    exact = FrozenNetwork(network.layers, 32, network.dtype, network.device, exact=True)
    half = activations(paths, network)
    full = activations(paths, exact)
    assert full.dtype == np.float32
    assert np.allclose(half, full, rtol=1e-3, atol=1e-4)


def test_a_damaged_entry_is_computed_again(paths, network, calls, tmp_path):
    with open_store(tmp_path) as store:
        first = activations(paths, network, store=store)
    database = sqlite3.connect(tmp_path / "activations-1.sqlite")
    with database:
        database.execute("UPDATE content SET data = zeroblob(length(data)) WHERE id <= 3")
    database.close()
    calls.clear()
    with open_store(tmp_path) as store:
        again = activations(paths, network, store=store)
    assert (again == first).all()
    assert sum(calls) == 3


def test_unreadable_images_raise_or_are_reported(paths, network):
    X = [paths[0], "missing.jpg", paths[1]]
    with pytest.raises(ImageError, match=r"missing.jpg \(item 1\)"):
        collect(X, network)
    found = collect(X, network, on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert len(found.rows) == 2
    assert "missing.jpg" in str(found.errors[0])


def test_tensors_that_numpy_refuses_are_left_out_or_named(faces, network):
    good = torch.from_numpy(faces.data[0] / 255)
    X = [good, good.bfloat16(), good.clone().requires_grad_()]
    found = collect(X, network, on_error="skip")
    assert found.positions.tolist() == [0]
    assert [error.position for error in found.errors] == [1, 2]
    with pytest.raises(ImageError) as caught:
        collect(X, network)
    first, *others = str(caught.value).split("\n")
    assert first == f"2 images cannot be read. {images.SKIP_HINT}"
    assert ["Tensor (item 1) " in others[0], "Tensor (item 2) " in others[1]] == [True, True]
    assert images.SKIP_HINT not in caught.value.message + "".join(others)


def test_a_broken_image_twice_is_two_errors(network, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    X = [str(tmp_path / "broken.jpg")] * 2
    chunk = next(features(network, on_error="skip").stream(X))
    assert ["(item 0)" in str(e) for e in chunk.errors] == [True, False]
    assert chunk.positions == []


def test_one_image_twice_is_computed_once(paths, network, calls):
    found = activations([paths[0]] * 5, network)
    assert calls == [1]
    assert len(found) == 5
    assert (found == found[0]).all()


def test_fits_of_a_process_share_what_one_of_them_has_read(paths, network, calls, tmp_path):
    with open_store(tmp_path) as store:
        pool = shared_pool(network, store)
        first = collect(paths[:30], network, store=store, pool=pool)
        calls.clear()
        second = collect(paths[10:], network, store=store, pool=pool)
        assert shared_pool(network, store) is pool
        assert shared_pool(network, None) is None
    assert sum(calls) == 10
    assert (second.rows[:20] == first.rows[10:]).all()
    with open_store(tmp_path / "other") as store:
        assert shared_pool(network, store, make=False) is None
        assert shared_pool(network, store) is not pool
    assert (first.array == second.array[:30]).all()


def test_threads_that_share_a_pool_compute_each_image_once(paths, network, calls):
    pool = ActivationPool()
    with ThreadPoolExecutor(4) as threads:
        jobs = [
            threads.submit(collect, paths[:i] * 2, network, pool=pool) for i in (40, 20, 30, 40)
        ]
        found = [job.result() for job in jobs]
    assert sum(calls) == 40
    assert (found[0].rows[:20] == found[1].rows[:20]).all()


def test_a_chunk_that_another_process_has_stored_meanwhile_is_not_computed(
    faces, network, calls, tmp_path
):
    pictures = list(faces.data)
    with open_store(tmp_path) as store, open_store(tmp_path) as other:
        chunks = features(network, store, n_jobs=1).stream(pictures)
        next(chunks)  # the rest is read ahead by now
        collect(pictures, network, store=other)
        calls.clear()
        assert sum(len(chunk.positions) for chunk in chunks) == 8
    assert calls == []


def test_a_file_that_changes_is_read_again(network, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_SETTLED", 0)
    path = tmp_path / "face.png"
    pool = ActivationPool()
    found = []
    for grey in (50, 200):
        Image.new("RGB", (32, 32), (grey, 0, 0)).save(path)
        for _ in range(2):
            found.append(activations([path], network, pool=pool)[0])
    assert (found[0] == found[1]).all()
    assert (found[2] == found[3]).all()
    assert (found[0] != found[2]).any()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")
def test_a_store_killed_at_any_moment_has_no_wrong_entries(tmp_path):
    script = Path(__file__).with_name("kill.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, capture_output=True, check=True
    )
    result = json.loads(run.stdout)
    assert result["wrong"] == 0
    assert result["n_cut_short"] == 20
    # What the killed had not stored yet is computed again: a chunk each at most.
    assert 1200 < result["n_computed"] <= 1200 + 20 * 32


def test_a_failed_write_shifts_no_rows(paths, network, monkeypatch):
    pool = ActivationPool()
    expected = activations(paths, network)
    write = ActivationPool._write

    def full(self, activation, row):
        if row == 10:
            self._file.write(b"half of it")
            raise OSError(28, "No space left on device")
        write(self, activation, row)

    monkeypatch.setattr(ActivationPool, "_write", full)
    with pytest.raises(OSError, match="No space"):
        collect(paths, network, pool=pool)
    monkeypatch.undo()
    assert (activations(paths, network, pool=pool) == expected).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_writes_nothing_into_its_parents_pool(paths, network, tmp_path):
    with open_store(tmp_path) as store:
        pool = shared_pool(network, store)
        pool.put([b"first"], np.ones((1, 8), np.float16))
        child = os.fork()
        if not child:
            os._exit(shared_pool(network, store, make=False) is not None)
        assert os.waitpid(child, 0)[1] == 0
        pool.put([b"second"], np.full((1, 8), 2, np.float16))
        assert pool.array.tolist() == [[1] * 8, [2] * 8]
