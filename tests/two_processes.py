"""Train in the processes that torchrun started; run by test_parallel."""

import json
import os
import sys
from pathlib import Path

from skorch.callbacks import Callback

from skage.datasets import make_faces
from tests.conftest import tiny_model

# In float32 the sums of one process and of two differ by their order alone.
OPTIONS = {
    "max_epochs": 3,
    "dropout": 0,
    "batch_size": 32,
    "validation_fraction": 0.2,
    "precision": "float32",
}


class CountTrained(Callback):
    n_trained = 0

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        CountTrained.n_trained += len(batch[0]) if training else 0


def main(folder):
    faces = make_faces(40, image_size=32, random_state=0)
    model = tiny_model(accelerate=True, callbacks=[CountTrained()], **OPTIONS)
    model.fit(faces.data, faces.target)
    tiny_model(accelerate=True, early_stopping=1, **OPTIONS).fit(faces.data, faces.target)
    last = model.classifier_.history_[-1]
    result = {
        "ages": model.predict(faces.data).tolist(),
        "n_trained": CountTrained.n_trained,
        "valid_mae": last["valid_mae"],
        "train_loss": last["train_loss"],
    }
    Path(folder, f"{os.environ['RANK']}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
