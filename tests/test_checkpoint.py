import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import EpochTimer

from skage._training import checkpoint
from skage.augment import Jitter
from skage.schedules import OneCycle, StepDecay

from .conftest import tiny_model

OPTIONS = {
    "augment": Jitter(1),
    "max_epochs": 6,
    "batch_size": 8,
    "validation_fraction": 0.25,
    "n_members": 2,
}


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "_MIN_INTERVAL", 0.0)


def kill_after(n_epochs, monkeypatch):
    """Let a fit be cut off in the epoch after so many of all its networks."""
    original, seen = checkpoint.Checkpoint.on_epoch_end, []

    def counting(self, net, **kwargs):
        if len(seen) == n_epochs:
            raise Killed
        seen.append(None)
        original(self, net, **kwargs)

    monkeypatch.setattr(checkpoint.Checkpoint, "on_epoch_end", counting)


_COMPRESSED = {"n_components": 8}
_SAMPLED = {"optimizer": "sgd", "lr_schedule": StepDecay(2), "class_weight": "balanced"}
_STOPPING = {"early_stopping": 6, "lr_schedule": OneCycle(), "lr": 0.01}


@pytest.mark.parametrize(
    ("options", "n_epochs"),  # of 6 of one network and 6 of the next
    [(_COMPRESSED, 2), (_SAMPLED, 6), (_SAMPLED, 9), (_STOPPING, 2), (_STOPPING, 9)],
)
def test_a_fit_that_was_killed_ends_with_the_same_bits(
    options, n_epochs, paths, faces, vgg11_file, tmp_path, monkeypatch
):
    options = OPTIONS | options | {"weights": vgg11_file}
    whole = tiny_model(**options).fit(paths, faces.target)
    model = tiny_model(checkpoint=tmp_path / "kept", **options)
    with monkeypatch.context() as context:
        kill_after(n_epochs, context)
        with pytest.raises(Killed):
            model.fit(paths, faces.target)
    n_trained = []
    original = checkpoint.Checkpoint.on_epoch_end
    monkeypatch.setattr(
        checkpoint.Checkpoint,
        "on_epoch_end",
        lambda self, net, **kwargs: (n_trained.append(1), original(self, net, **kwargs)),
    )
    model.fit(paths, faces.target)
    assert len(n_trained) == 12 - n_epochs
    assert (model.predict(paths) == whole.predict(paths)).all()
    for net, expected in zip(model.classifier_.nets_, whole.classifier_.nets_, strict=True):
        pairs = zip(net.module_.parameters(), expected.module_.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    untimed = [
        [{k: v for k, v in row.items() if k != "dur"} for row in m.classifier_.history_]
        for m in (model, whole)
    ]
    assert untimed[0] == untimed[1]
    assert not list((tmp_path / "kept").iterdir())


def test_a_fit_that_stopped_early_is_not_resumed(paths, faces, vgg11_file, tmp_path, monkeypatch):
    options = OPTIONS | {"early_stopping": 1, "lr": 0.01, "max_epochs": 40, "weights": vgg11_file}
    whole = tiny_model(**options).fit(paths, faces.target)
    n_first = sum(row["member"] == 0 for row in whole.classifier_.history_)
    assert n_first < 40
    model = tiny_model(checkpoint=tmp_path, **options)
    with monkeypatch.context() as context:
        kill_after(n_first - 1, context)  # the epoch that stops it is not counted
        with pytest.raises(Killed):
            model.fit(paths, faces.target)
    model.fit(paths, faces.target)
    assert (model.predict(paths) == whole.predict(paths)).all()


@pytest.mark.parametrize(
    "other",
    [
        {"lr": 1e-4},
        {"random_state": 1},
        {"max_epochs": 7},
        {"loss": {"cross_entropy": 1, "expectation_l1": 1}, "representative": "midpoint"},
    ],
)
def test_another_fit_does_not_resume_from_it(
    other, paths, faces, vgg11_file, tmp_path, monkeypatch
):
    other = dict(other)
    bins = {"binner__representative": other.pop("representative", "mean")}
    options = OPTIONS | {"n_members": 1, "weights": vgg11_file}
    options |= {"loss": other["loss"]} if "loss" in other else {}
    with monkeypatch.context() as context:
        kill_after(3, context)
        with pytest.raises(Killed):
            tiny_model(checkpoint=tmp_path, **options).fit(paths, faces.target)
    model = tiny_model(**options | other).set_params(**bins)
    expected = clone(model).fit(paths, faces.target).predict(paths)
    model.set_params(classifier__runtime__checkpoint=tmp_path)
    assert (model.fit(paths, faces.target).predict(paths) == expected).all()
    assert len(list(tmp_path.iterdir())) == 1  # of the first


def test_a_process_that_is_killed_leaves_complete_files(tmp_path):
    code = f"""
import numpy as np
from skage._training import checkpoint
from tests.conftest import tiny_classifier
checkpoint._MIN_INTERVAL = 0.0
rng = np.random.default_rng(0)
X, y = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 2
print("begins", flush=True)
tiny_classifier(max_epochs=10000, checkpoint={str(tmp_path)!r}, verbose=2).fit(X, y)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    ) as process:
        for line in process.stdout:
            if line.split()[:1] == ["20"]:
                break
        process.send_signal(signal.SIGKILL)
    (kept,) = [path for path in tmp_path.iterdir() if path.suffix == ".training"]
    assert len(checkpoint.read_state(kept)["history"]) >= 10


_FIT = """
import numpy as np
from tests.conftest import tiny_classifier
def fit(weights, **options):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8), np.arange(16) % 2
    options |= dict(trainable="block5", lr_ratio=0.1, optimizer="sgd", lr=0.01, max_epochs=3)
    model = tiny_classifier(weights=weights, batch_size=8, validation_fraction=0, **options)
    parameters = model.fit(X, y).net_.module_.parameters()
    return sum(parameter.double().sum().item() for parameter in parameters)
"""
_KILLED = """
import sys
from skage._training import checkpoint
checkpoint._MIN_INTERVAL = 0.0
weights, folder, n_epochs = sys.argv[1:]
seen, original = [], checkpoint.Checkpoint.on_epoch_end
def counting(self, net, **kwargs):
    if len(seen) == int(n_epochs): sys.exit()
    seen.append(1)
    original(self, net, **kwargs)
checkpoint.Checkpoint.on_epoch_end = counting
print(fit(weights, checkpoint=folder))
"""


def test_another_process_resumes_with_the_same_bits(vgg11_file, tmp_path):
    """Another hash seed gives sets of strings another order."""

    def run(n_epochs, seed):
        command = [sys.executable, "-c", _FIT + _KILLED, vgg11_file, tmp_path, str(n_epochs)]
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        return subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    here = {}
    exec(_FIT, here)
    assert run(2, seed=2) == ""
    assert float(run(99, seed=3)) == here["fit"](str(vgg11_file))


def test_a_corrupted_file_is_ignored_with_a_warning(
    paths, faces, vgg11_file, tmp_path, monkeypatch
):
    options = OPTIONS | {"weights": vgg11_file, "n_members": 1}
    model = tiny_model(checkpoint=tmp_path, **options)
    with monkeypatch.context() as context:
        kill_after(3, context)
        with pytest.raises(Killed):
            model.fit(paths, faces.target)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.warns(
        UserWarning, match=r"The checkpoint .* cannot be read .* starts from the first epoch"
    ):
        model.fit(paths, faces.target)
    expected = tiny_model(**options).fit(paths, faces.target)
    assert (model.predict(paths) == expected.predict(paths)).all()


def test_callbacks_are_refused_with_a_checkpoint(paths, faces, tmp_path):
    with pytest.raises(ValueError, match="Leave out callbacks"):
        tiny_model(checkpoint=tmp_path, callbacks=[EpochTimer()]).fit(paths, faces.target)


def test_a_file_in_place_of_the_folder_is_refused(paths, faces, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"is a file\. Pass the path of a folder"):
        tiny_model(checkpoint=tmp_path / "file").fit(paths, faces.target)


def test_a_checkpoint_needs_an_int_as_random_state(paths, faces, tmp_path):
    model = tiny_model(checkpoint=tmp_path, random_state=np.random.RandomState(0))
    with pytest.raises(ValueError, match=r"checkpoint=.* needs an int as random_state"):
        model.fit(paths, faces.target)
