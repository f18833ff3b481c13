"""Teach a network to read handwritten digits: 1,797 of them, 8 x 8 pixels, from scikit-learn.

    python examples/digits.py [--epochs 30] [--device cpu] [--out out]

A quarter of the digits is held out: the network never learns from them, so they show what it can
do. Weights and a picture of the result are left in the folder `out`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import ferrum as fe
import ferrum_nn as nn

GOAL = 0.97
SMOOTHING = 0.1  # of the labels: keeps the network from being too sure of itself
GREY, BLUE, RED = "#6b7280", "#2563eb", "#dc2626"


def digits() -> tuple[fe.Tensor, fe.Tensor, fe.Tensor, fe.Tensor]:
    """Return images and labels to learn from, and images and labels held out."""
    data = load_digits()
    images = (data.images / 16).astype(np.float32)  # pixels go from 0 to 16
    learn_x, test_x, learn_y, test_y = train_test_split(
        images, data.target, test_size=0.25, stratify=data.target, random_state=0
    )
    return fe.tensor(learn_x), fe.tensor(learn_y), fe.tensor(test_x), fe.tensor(test_y)


def network() -> nn.Sequential:
    """Return a network that has not learned anything yet: an image in, ten scores out."""
    return nn.Sequential(
        nn.Flatten(),  # (n, 8, 8) to (n, 64)
        nn.Linear(64, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def predict(model: nn.Module, images: fe.Tensor) -> fe.Tensor:
    """Return the digit with the highest score for each image."""
    with fe.no_grad():
        scores: fe.Tensor = model(images)
        return scores.argmax(dim=1)


def train(
    model: nn.Module, x: fe.Tensor, y: fe.Tensor, test_x: fe.Tensor, test_y: fe.Tensor, epochs: int
) -> list[list[float]]:
    """Train, and return the losses of each epoch's steps."""
    loader = nn.data.DataLoader(nn.data.TensorDataset(x, y), batch_size=32, shuffle=True)
    loss_of = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    optimizer = nn.optim.Adam(model.parameters(), lr=2e-3)
    history = []
    progress = tqdm(range(epochs), desc="learning", unit="epoch")
    for _ in progress:
        losses = []
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_of(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        history.append(losses)
        right = (predict(model, test_x) == test_y).float().mean().item()
        progress.set_postfix(loss=f"{np.mean(losses):.3f}", held_out=f"{right:.1%}")
    return history


def draw(
    history: list[list[float]], images: fe.Tensor, labels: fe.Tensor, guesses: fe.Tensor, path: Path
) -> None:
    """Write a picture: the loss as it fell, and held-out digits with what was read in them."""
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25], wspace=0.04)
    draw_loss(left, history)
    draw_digits(right, images.numpy(), labels.numpy(), guesses.numpy())
    figure.savefig(path, dpi=150)


def draw_loss(figure: Any, history: list[list[float]]) -> None:
    """Draw the loss of each step, the mean of each epoch, and the least that it can be."""
    axes = figure.subplots()
    steps = np.concatenate(history)
    ends = np.cumsum([len(losses) for losses in history])
    means = [np.mean(losses) for losses in history]
    axes.plot(np.arange(1, len(steps) + 1), steps, color=BLUE, alpha=0.25, lw=0.8, label="step")
    axes.plot(ends, means, color=BLUE, lw=2, label="mean of an epoch")
    target = np.full(10, SMOOTHING / 10) + np.eye(10)[0] * (1 - SMOOTHING)
    floor = -(target * np.log(target)).sum()
    axes.axhline(floor, color=GREY, lw=1, ls=":", label="least, as labels are smoothed")
    axes.set(xlabel="step", ylabel="cross entropy", title="Loss while learning", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GREY, alpha=0.2)
    axes.legend(frameon=False)


def draw_digits(figure: Any, images: Any, labels: Any, guesses: Any) -> None:
    """Draw a grid of digits, the mistakes in red."""
    rows, columns = 6, 10
    wrong = guesses != labels
    # a random choice, with the mistakes in it, up to 20
    order = np.random.default_rng(0).permutation(len(wrong))
    rank = np.where(wrong[order], 2 * (wrong[order].cumsum() > 20), 1)
    chosen = order[np.argsort(rank, kind="stable")][: rows * columns]
    for cell, i in zip(figure.subplots(rows, columns).flat, np.sort(chosen), strict=True):
        color, width, weight = (RED, 2, "bold") if wrong[i] else (GREY, 0.5, None)
        text = f"{guesses[i]}, not {labels[i]}" if wrong[i] else f"{guesses[i]}"
        cell.imshow(images[i], cmap="gray_r", interpolation="nearest")
        cell.set_title(text, color=color, fontsize=9, pad=2, weight=weight)
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set(color=color, linewidth=width)
    right = len(wrong) - wrong.sum()
    figure.suptitle(f"Held-out digits and how they are read: {right} of {len(wrong)} right")


def main() -> None:
    """Train, save, reload, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30, help="passes through the digits")
    parser.add_argument(
        "--device",
        default="cpu" if fe.device_count("cpu") else "reference",
        help="where to compute",
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    options = parser.parse_args()

    fe.set_default_device(options.device)
    fe.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)

    x, y, test_x, test_y = digits()
    model = network()
    print(model)
    history = train(model, x, y, test_x, test_y, options.epochs)

    weights = options.out / "digits.safetensors"
    fe.save_file(model.state_dict(), weights)
    again = network()
    again.load_state_dict(fe.load_file(weights))
    guesses = predict(model, test_x)
    if not fe.equal(guesses, predict(again, test_x)):
        sys.exit("the reloaded network reads the digits differently")

    picture = options.out / "digits.png"
    draw(history, test_x, test_y, guesses, picture)

    right = int((guesses == test_y).sum().item())
    accuracy = right / len(test_y)
    print(f"{right} of {len(test_y)} held-out digits read correctly: {accuracy:.1%}")
    print(f"saved {weights}, reloaded it: the same answers; drew {picture}")
    if accuracy < GOAL:
        sys.exit(f"less than {GOAL:.0%}: train for more epochs")


if __name__ == "__main__":
    main()
