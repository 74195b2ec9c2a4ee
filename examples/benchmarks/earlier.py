"""The earlier attempt at the same method that skage starts from, rebuilt."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from skage._activations.features import Features, Reading
from skage._activations.frozen import FrozenNetwork
from skage._files.store import open_store
from skage._networks.vgg import VGG, Architecture


def earlier_attempt(paths, ages, train, test, weights, cache, seed=0) -> tuple[np.ndarray, int]:
    """Ages of the test images by the earlier attempt, its mistakes included.

    VGG16's convolutions frozen, at 200 pixels, inputs divided by 255 only; two
    dense layers of 200 (ReLU, dropout 0.2, norms of at most 4); quantile bins,
    15 asked and 14 made, fitted on all the data; the midpoints of their edges
    as values; cross-entropy + 0.1 x MSE of the expectation; Adam of 1e-3 with
    betas (0.9, 0.9), divided by 10 at epochs 0, 10 and 20; batches of 256 and
    25 epochs.
    """
    layers = VGG(Architecture(image_size=200), weights).frozen()
    layers.mean, layers.std = torch.zeros(3), torch.full((3,), 255.0)
    frozen = FrozenNetwork(layers, 200, torch.float32, torch.device("cpu"))
    with open_store(cache) as store:
        found = Features(frozen, store, reading=Reading(progress=True)).collect(paths)
    edges = np.unique(np.quantile(ages, np.linspace(0, 1, 16)))
    codes = torch.from_numpy(np.searchsorted(edges[1:-1], ages, side="right"))
    values = torch.from_numpy((edges[:-1] + edges[1:]) / 2).float()
    target = torch.from_numpy(ages).float()
    features = torch.from_numpy(found.array[found.rows])

    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(features.shape[1], 200),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(200, 200),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(200, len(values)),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.9))
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [0, 10, 20], 0.1)
    rows = torch.from_numpy(train)
    for _ in range(25):
        for batch in rows[torch.randperm(len(rows))].split(256):
            logits = net(features[batch].float())
            expected = logits.softmax(dim=1) @ values
            loss = nn.functional.cross_entropy(logits, codes[batch])
            loss = loss + 0.1 * nn.functional.mse_loss(expected, target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for layer in (net[0], net[3]):
                    layer.weight.copy_(layer.weight.renorm(2, 0, 4.0))
        schedule.step()
    net.eval()
    with torch.inference_mode():
        found = (net(features[test].float()).softmax(dim=1) @ values).numpy()
    return found, sum(parameter.numel() for parameter in net.parameters())
