"""Train a network on scikit-learn's digits, on the device that is named: `train_digits.py grid`.

Prints as JSON how much of a held-out quarter it reads right, and on which devices ops ran.
"""

import json
import sys

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import ferrum as fe
import ferrum_nn as nn
from ferrum.mode import Observer, observing


class Devices(Observer):
    """The devices on which ops ran."""

    def __init__(self):
        self.seen = set()

    def ran(self, op, device, native):
        self.seen.add(str(device))


def main(name):
    fe.set_default_device(name)
    fe.manual_seed(0)
    digits = load_digits()
    images = (digits.data / 16).astype("float32")
    parts = train_test_split(images, digits.target, test_size=0.25, random_state=0)
    train_x, test_x, train_y, test_y = map(fe.tensor, parts)

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = nn.optim.Adam(model.parameters(), lr=5e-3)
    loss_of = nn.CrossEntropyLoss()
    batches = nn.data.DataLoader(
        nn.data.TensorDataset(train_x, train_y), batch_size=64, shuffle=True
    )
    with observing(devices := Devices()):
        for _ in range(30):
            for x, y in batches:
                optimizer.zero_grad()
                loss_of(model(x), y).backward()
                optimizer.step()
        with fe.no_grad():
            right = (model(test_x).argmax(dim=1) == test_y).float().mean().item()
    kinds = sorted({type(each.array).__name__ for each in model.parameters()})
    print(json.dumps({"right": right, "devices": sorted(devices.seen), "arrays": kinds}))


if __name__ == "__main__":
    main(sys.argv[1])
