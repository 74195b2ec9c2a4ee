"""Kill a process that fills a store, at many random moments; run by test_features."""

import json
import os
import random
import signal
import sys
import time

import numpy as np
import torch

torch.set_num_threads(1)  # no threads yet, so that children may be forked

from skage._activations.features import Features, Reading  # noqa: E402
from skage._activations.frozen import FrozenNetwork  # noqa: E402
from skage._files.store import open_store  # noqa: E402
from skage._networks.vgg import VGG, Architecture  # noqa: E402

N_IMAGES, N_KILLS = 1200, 20


def main(folder):
    images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, 32, 32, 3), dtype=np.uint8)
    torch.manual_seed(0)
    architecture = Architecture(trainable="block3", hidden_layer_sizes=(), dropout=0, image_size=32)
    layers = VGG(architecture, weights=None).frozen()
    network = FrozenNetwork(layers, 32, torch.float32, torch.device("cpu"))
    log = os.open(os.path.join(folder, "log"), os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    compute = FrozenNetwork.__call__

    def counting(self, pixels):
        os.write(log, b"%d\n" % len(pixels))
        return compute(self, pixels)

    FrozenNetwork.__call__ = counting

    def fill():
        with open_store(folder) as store:
            return Features(network, store, reading=Reading(n_jobs=1)).collect(images)

    random.seed(0)
    n_cut_short = 0  # children that had not filled it to the end
    for _ in range(N_KILLS):
        child = os.fork()
        if not child:
            fill()
            os._exit(0)
        # While it reads, computes or stores its first, second or third chunk.
        size, n_chunks = os.fstat(log).st_size, random.randrange(3)
        while os.fstat(log).st_size < size + 3 * n_chunks:
            time.sleep(1e-4)
        time.sleep(random.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        n_cut_short += os.WIFSIGNALED(status)
    found = fill()
    with open(os.path.join(folder, "log")) as file:
        n_computed = sum(map(int, file))
    expected = compute(network, images).numpy()
    result = {
        "n_cut_short": n_cut_short,
        "n_computed": n_computed,
        "wrong": int((found.array[found.rows] != expected).any(axis=(1, 2, 3)).sum()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
