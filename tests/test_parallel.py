"""Several processes, started as users start them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import tiny_model
from .two_processes import OPTIONS

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_train_the_network_that_one_trains(faces, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    run(*launcher, Path(__file__).with_name("two_processes.py"), tmp_path)
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one["ages"] == two["ages"]
    assert one["n_trained"] == two["n_trained"] == 16 * 3  # half of 32 images, 3 epochs
    alone = tiny_model(**OPTIONS).fit(faces.data, faces.target)
    assert one["ages"] == pytest.approx(alone.predict(faces.data), rel=1e-3)
    assert one["valid_mae"] == two["valid_mae"]
    assert one["train_loss"] == two["train_loss"]


def test_processes_must_agree_on_the_seed(faces):
    with pytest.raises(ValueError, match="accelerate=True needs an int as random_state, not None"):
        tiny_model(accelerate=True, random_state=None).fit(faces.data, faces.target)


def test_without_accelerate_the_error_names_the_extra(faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"pip install 'skage\[accelerate\]'"):
        tiny_model(accelerate=True).fit(faces.data, faces.target)


def test_the_example_of_several_processes_runs_in_one(tmp_path):
    output = tmp_path / "age.skage"
    options = ["--image-size", 32, "--epochs", 1, "--output", output]
    assert "process 0: MAE" in run(EXAMPLES / "several_processes.py", *options)
    assert output.exists()


def test_the_example_on_a_dask_cluster_of_two_processes():
    printed = run(EXAMPLES / "dask_cluster.py", "--image-size", 32)
    assert "2 workers, best of 4 candidates" in printed
    difference = float(printed.split("largest difference from one process:")[1].split()[0])
    assert np.isclose(difference, 0, atol=1e-4)
