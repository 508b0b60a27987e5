"""A deep network F = f_k ∘ … ∘ f_1, f_i(x) = σ(A_i x + b_i), trained on scikit-learn's bundled 8 × 8 images of digits.

Squared loss, plain minibatch gradient descent at a constant rate, no momentum. One minibatch is recorded, once; the
images and labels are inputs of the tape, so every later step replays it.
`python -m fasttape.demo.digits` prints five seeds.
"""

import itertools
from typing import NamedTuple

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fasttape as ft

WIDTHS = (64, 64, 32, 10)
BATCH = 32
RATE = 0.2
FIRST = 0.3
EPOCHS = 60
TARGET = 0.9  # σ = tanh reaches ±1 at infinity only, so the labels ask for ±0.9
TEST_SHARE = 0.2


class Data(NamedTuple):
    """Images are columns, as x is in A x + b; labels are numbers from 0 to 9."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: np.ndarray


class Result(NamedTuple):
    """What a training leaves behind; the figure is drawn from it."""

    data: Data
    layers: list
    losses: list
    accuracies: list
    instructions: int

    @property
    def wrong(self) -> int:
        """How many test images are misread."""
        return round((1 - self.accuracies[-1]) * len(self.data.test_labels))


def network(layers, x):
    """F(x) for a batch of columns; serves the tape and plain arrays alike."""
    for A, b in layers:
        x = np.tanh(A @ x + b[:, None])
    return x


def loss(layers, images, targets):
    """Squared loss, averaged over the batch."""
    return np.sum((network(layers, images) - targets) ** 2) / images.shape[1]


def load(seed: int) -> Data:
    """A split that keeps the share of each digit; pixels centered by the training images' mean and scaled by 1/8."""
    X, y = load_digits(return_X_y=True)
    train, test, labels, test_labels = train_test_split(X, y, test_size=TEST_SHARE, stratify=y, random_state=seed)
    mean = train.mean(axis=0)
    # Columns side by side in memory, so that a batch is one gather and no transposition.
    columns = [np.ascontiguousarray((images - mean).T / 8) for images in (train, test)]
    return Data(columns[0], labels, columns[1], test_labels, mean)


def initial(rng) -> list:
    """Normal weights of variance 1 / inputs, biases zero; A_1 starts smaller, so what its filters show was learned."""
    sizes = itertools.pairwise(WIDTHS)
    layers = [(rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), np.zeros(outputs)) for inputs, outputs in sizes]
    return [(FIRST * layers[0][0], layers[0][1]), *layers[1:]]


def targets(labels):
    """One column of ±0.9 for each label."""
    return np.where(np.arange(10)[:, None] == labels, TARGET, -TARGET)


def accuracy(layers, images, labels) -> float:
    """The share of images whose largest output stands at the right digit."""
    return float(np.mean(network(layers, images).argmax(axis=0) == labels))


def train(seed: int, epochs: int, report=lambda loss, accuracy: None) -> Result:
    """Gradient descent by replaying one tape; `report` hears of every epoch."""
    data, rng = load(seed), np.random.default_rng(seed)
    layers = initial(rng)
    wanted = targets(data.labels)
    tape = ft.record(loss, layers, data.images[:, :BATCH], wanted[:, :BATCH])
    losses, accuracies = [], []
    for _ in range(epochs):
        order = rng.permutation(len(data.labels))
        values = []
        for start in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            value, gradient = tape.value_and_grad(layers, data.images[:, batch], wanted[:, batch])
            layers = [(A - RATE * dA, b - RATE * db) for (A, b), (dA, db) in zip(layers, gradient, strict=True)]
            values.append(value)
        losses.append(float(np.mean(values)))
        accuracies.append(accuracy(layers, data.test_images, data.test_labels))
        report(losses[-1], accuracies[-1])
    return Result(data, layers, losses, accuracies, len(tape))


def show(epochs: int, seed: int) -> Result:
    """Print one batch's gradients layer by layer, train under a progress bar, print what came out."""
    explain(seed)
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=epochs)

        def report(loss, accuracy):
            progress.update(bar, advance=1, description=f"loss {loss:.4f}   test accuracy {accuracy:.1%}")

        result = train(seed, epochs, report)
    print(f"Loss {result.losses[0]:.4f} -> {result.losses[-1]:.4f}; the tape has {result.instructions} instructions.")
    print(f"Test accuracy {result.accuracies[-1]:.2%}: {result.wrong} of {len(result.data.test_labels)} images wrong.")
    return result


def explain(seed: int) -> None:
    """The gradients ∂L/∂(A_i, b_i) of the first batch: by the tape, and by hand from the top layer down."""
    data, layers = load(seed), initial(np.random.default_rng(seed))
    x, wanted = data.images[:, :BATCH], targets(data.labels[:BATCH])
    by_tape = ft.grad(loss)(layers, x, wanted)
    print(
        f"F = {' ∘ '.join(f'f{i}' for i in range(len(layers), 0, -1))},  f_i(x) = tanh(A_i x + b_i),  widths {WIDTHS}"
    )
    print(f"L = mean ‖F(x) − t‖² over a batch of {BATCH};  h_i is the output of f_i,  z_i its argument")
    print("⟦ ⟧ marks the term that a layer reuses from the one above\n")
    print(f"{'layer':>5}   {'term of the layer':32}{'gradients':40}{'‖∂L/∂A‖':>9}{'‖∂L/∂b‖':>10}   tape − hand")
    for i, term, dA, db in by_hand(layers, x, wanted):
        A, b = by_tape[i - 1]
        error = max(abs(A - dA).max(), abs(b - db).max())
        gradients = f"∂L/∂A{i} = δ{i} h{i - 1}ᵀ   ∂L/∂b{i} = δ{i} 1" if i > 1 else "∂L/∂A1 = δ1 xᵀ    ∂L/∂b1 = δ1 1"
        print(f"{i:5}   {term:32}{gradients:40}{np.linalg.norm(A):9.4f}{np.linalg.norm(b):10.4f}   {error:.1e}")
    print()


def by_hand(layers, x, wanted):
    """Back-propagation written out: (i, formula of δ_i, ∂L/∂A_i, ∂L/∂b_i) from the top layer down."""
    outputs = [x]
    for A, b in layers:
        outputs.append(np.tanh(A @ outputs[-1] + b[:, None]))
    top = len(layers)
    above = 2 * (outputs[-1] - wanted) / x.shape[1]
    term = f"δ{top} = 2 (F(x) − t)/{x.shape[1]} ⊙ σ′(z{top})"
    for i in range(top, 0, -1):
        delta = above * (1 - outputs[i] ** 2)
        yield i, term, delta @ outputs[i - 1].T, delta.sum(axis=1)
        above = layers[i - 1][0].T @ delta
        term = f"δ{i - 1} = (A{i}ᵀ ⟦δ{i}⟧) ⊙ σ′(z{i - 1})"


def main() -> None:
    """The table of docs/digits.md: five seeds, each its own split, first weights and order of batches."""
    print("| seed | training loss, last epoch | wrong of 360 | test accuracy |\n|---|---|---|---|")
    for seed in range(5):
        result = train(seed, EPOCHS)
        print(f"| {seed} | {result.losses[-1]:.4f} | {result.wrong} | {result.accuracies[-1]:.2%} |")


if __name__ == "__main__":
    main()
