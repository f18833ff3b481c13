"""Trains for some steps, in one process or in two, and prints the SHA-256 of all that there is.

    python resumed_training.py FOLDER STOP STEPS

With a STOP of 0 it goes from the start to the end; else it saves after STOP steps, and a new
process goes on from there.
"""

import hashlib
import os
import random
import subprocess
import sys

os.environ["FERRUM_DEVICE"] = "reference"

import numpy as np

import ferrum as fe
import ferrum_nn as nn

BATCHES = 4  # of an epoch


class Noisy(nn.Module):
    """A layer whose output is partly dropped, with random numbers from everywhere."""

    def __init__(self) -> None:
        self.layer = nn.Linear(5, 8)
        self.register_buffer("mean", fe.zeros(8))

    def forward(self, x):
        y = self.layer(x).tanh()
        self.mean.mul_(0.9).add_(y.detach().mean(0), alpha=0.1)
        return y * (fe.rand(8) > 0.3).to(dtype=fe.float32) * random.random() - self.mean


class Decay:
    """A scheduler."""

    def __init__(self, optimizer):
        self.optimizer, self.count, self.best = optimizer, 0, float("inf")

    def step(self):
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = 0.1 * 0.97**self.count

    def state_dict(self):
        return {"count": self.count, "best": self.best}

    def load_state_dict(self, state):
        self.count, self.best = state["count"], state["best"]


def make():
    draw = np.random.default_rng(0)
    data = nn.data.TensorDataset(
        fe.tensor(draw.standard_normal((29, 5)), dtype=fe.float32),
        fe.tensor(draw.standard_normal((29, 1)), dtype=fe.float32),
    )
    loader = nn.data.DataLoader(data, batch_size=8, shuffle=True, generator=fe.Generator(9))
    model = nn.Sequential(Noisy(), nn.Linear(8, 1))
    optimizer = nn.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.01)
    return model, optimizer, Decay(optimizer), loader


def main(folder: str, stop: int, steps: int, resume: bool) -> None:
    for manual_seed in (fe.manual_seed, random.seed, np.random.seed):
        manual_seed(1 if not resume else 2)
    model, optimizer, scheduler, loader = make()
    generator = loader.generator
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    step = 0
    if resume:
        found = nn.load_checkpoint(folder, **parts, generator=generator)
        step = found.step
    while step < steps:
        begun = generator.get_state()
        for number, (x, y) in enumerate(loader):
            if number < step % BATCHES:
                continue  # the epoch was begun by another process
            noise = fe.tensor(np.random.rand(*x.shape), dtype=fe.float32)
            loss = nn.functional.mse_loss(model(x + noise), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step == stop and not resume:
                here, start = generator.get_state(), begun
                generator.set_state(start if step % BATCHES else here)
                nn.save_checkpoint(folder, step=step, **parts, generator=generator)
                command = [sys.executable, __file__, folder, str(stop), str(steps), "resume"]
                sys.exit(subprocess.run(command, check=False).returncode)
            if step == steps:
                break
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    for state in optimizer.state_dict()["state"].values():
        for tensor in state.values():
            found.update(tensor.numpy().tobytes())
    found.update(repr((scheduler.state_dict(), fe.get_rng_state(), random.random())).encode())
    print(found.hexdigest())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "resume" in sys.argv)
