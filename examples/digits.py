"""Learn to read handwritten digits: train, save, reload, check, and draw what was learned.

The 1,797 images of scikit-learn's digits, 8 by 8 pixels, were written by real people. A quarter of
them is held out. Run `python examples/digits.py --help` for the options.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import ferrum as fe
import ferrum_nn as nn

mpl.use("Agg")  # draws into files, on machines without a screen too
import matplotlib.pyplot as plt

ENOUGH = 0.97  # of the held-out digits have to be read right


def digits() -> tuple[fe.Tensor, fe.Tensor, fe.Tensor, fe.Tensor]:
    """Return pixels from 0 to 1 and labels, three quarters to learn from and one to be tested on."""
    pixels, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        (pixels / 16).astype(np.float32), labels, test_size=0.25, stratify=labels, random_state=0
    )
    x, x_test, y, y_test = (fe.tensor(part) for part in parts)
    return x, y, x_test, y_test


def network() -> nn.Sequential:
    """Return a network from 64 pixels to 10 scores, one per digit."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def train(model: nn.Module, x: fe.Tensor, y: fe.Tensor, epochs: int) -> list[float]:
    """Fit `model` to the images and return the mean loss of each epoch."""
    batches = nn.data.DataLoader(nn.data.TensorDataset(x, y), batch_size=32, shuffle=True)
    optimizer = nn.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    losses = []
    for _ in (bar := tqdm(range(epochs), desc="training", unit="epoch")):
        total = 0.0
        for images, labels in batches:
            optimizer.zero_grad()
            loss = loss_of(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(batches))
        bar.set_postfix(loss=f"{losses[-1]:.4f}")
    return losses


def predict(model: nn.Module, x: fe.Tensor) -> fe.Tensor:
    """Return the digit that `model` reads in each image."""
    with fe.no_grad():
        return model(x).argmax(dim=1)


def draw(losses: list[float], x: Any, y: Any, read: Any, path: Path) -> None:
    """Draw the loss curve beside a grid of held-out digits, the misread ones first and in red."""
    rows, columns = 5, 8
    order = np.argsort(read == y, kind="stable")[: rows * columns]
    figure = plt.figure(figsize=(12, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
    axes = left.subplots()
    axes.plot(range(1, len(losses) + 1), losses, color="tab:blue", linewidth=2)
    axes.set(title="Training loss", xlabel="epoch", ylabel="cross entropy", yscale="log")
    axes.grid(alpha=0.3)
    right.suptitle(f"Held-out digits: {(read == y).mean():.1%} read right, misread ones first")
    for cell, i in zip(right.subplots(rows, columns).flat, order, strict=True):
        wrong = read[i] != y[i]
        cell.imshow(x[i].reshape(8, 8), cmap="gray_r", interpolation="nearest")
        cell.set_title(
            f"{read[i]} (is {y[i]})" if wrong else f"{read[i]}",
            color="tab:red" if wrong else "black",
            fontsize=10,
        )
        cell.set(xticks=[], yticks=[])
        for side in cell.spines.values():
            side.set_color("tab:red" if wrong else "lightgray")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the job; exit with an error if the network is poor or the reloaded one differs."""
    parser = argparse.ArgumentParser(description="Learn to read handwritten digits.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", help='such as "cpu"; the best installed one by default')
    parser.add_argument("--out", type=Path, default=Path("out"), help="where files go")
    options = parser.parse_args()
    best = "cpu" if fe.device_count("cpu") else "reference"
    fe.set_default_device(options.device or best)
    fe.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)

    x, y, x_test, y_test = digits()
    model = network()
    losses = train(model, x, y, options.epochs)
    read = predict(model, x_test)
    accuracy = (read == y_test).to(fe.float32).mean().item()
    print(f"{accuracy:.2%} of {len(y_test)} held-out digits are read right")

    weights = options.out / "digits.safetensors"
    fe.save_file(model.state_dict(), weights)
    again = network()
    again.load_state_dict(fe.load_file(weights))
    same = fe.equal(predict(again, x_test), read)
    print(f"saved to {weights}; the reloaded model reads {'the same' if same else 'otherwise'}")

    picture = options.out / "digits.png"
    draw(losses, x_test.numpy(), y_test.numpy(), read.numpy(), picture)
    print(f"drawn in {picture}")
    if not same or accuracy < ENOUGH:
        raise SystemExit(f"expected at least {ENOUGH:.0%} and a model that reloads as it was saved")


if __name__ == "__main__":
    main()
