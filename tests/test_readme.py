"""The Python of README.md, run as a reader would run it, on drawn faces."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from PIL import Image
from safetensors.torch import load_file

from skage import VGG16Classifier
from skage.datasets import make_faces

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"(<!-- not run: [^\n]*-->\n)?```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def reader(tmp_path, monkeypatch, vgg16_file):
    """A reader's folder: a table of faces, a folder of UTKFace, and ImageNet's weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    get_reusable_executor().shutdown(wait=True)  # workers of earlier tests have no TORCH_HOME
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(load_file(vgg16_file), tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth")
    # Small and quick, whatever a block leaves at its default.
    for name, value in {"image_size": 32, "max_epochs": 1}.items():
        monkeypatch.setitem(VGG16Classifier.__init__.__kwdefaults__, name, value)

    faces = make_faces(160, image_size=32, random_state=0)
    ages = np.arange(160) % 80 + 1
    os.mkdir("UTKFace")
    names = [f"UTKFace/{age}_0_0_{i:017}.jpg" for i, age in enumerate(ages)]
    for name, pixels in zip(names, faces.data, strict=True):
        Image.fromarray(pixels).save(name)
    sex = np.where(np.arange(160) % 3, "female", "male")
    table = {"path": names, "age": ages, "person": np.arange(160) // 2, "sex": sex}
    pd.DataFrame(table).to_csv("faces.csv", index=False)


def test_its_python_runs(reader):
    assert len(BLOCKS) > 6
    namespace = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There are only")  # a reader has more images
        for not_run, block in BLOCKS:
            code = compile(block, "README.md", "exec")
            if not_run:
                imports = re.findall(r"^(?:from|import) .*", block, flags=re.MULTILINE)
                code = compile("\n".join(imports), "README.md", "exec")
            exec(code, namespace)
    for file in ("age.skage", "training.png", "faces.png", "evaluation.html"):
        assert Path(file).stat().st_size > 0
