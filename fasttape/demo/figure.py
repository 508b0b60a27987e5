"""The figure of the digits: loss and accuracy, the filters of the first layer, and the worst mistakes."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fasttape.demo import digits

INK, LOSS, SCORE, PALE = "#22303c", "#c8442b", "#2f6f8f", "#d9dee2"
SIDE = 8  # filters in a row and in a column, and pixels of an image in each
MISTAKES = 4  # in a row and in a column


def draw(result: digits.Result, path) -> None:
    """Write the PNG."""
    # A Figure with its own canvas: no window system, no global state of pyplot.
    figure = Figure(figsize=(16, 5.9), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    curves, filters, mistakes = figure.subfigures(1, 3, width_ratios=(1, 1, 1))
    draw_curves(curves, result)
    draw_filters(filters, result.layers[0][0])
    draw_mistakes(mistakes, result)
    figure.savefig(path)


def title(part, text: str, note: str) -> None:
    """A heading with a quieter line under it."""
    part.text(0.06, 0.945, text, color=INK, fontsize=13, fontweight="bold", va="center")
    part.text(0.06, 0.895, note, color=INK, fontsize=9, alpha=0.75, va="center")


def draw_curves(part, result) -> None:
    """Loss on a logarithmic scale above, accuracy below."""
    title(part, "Training", f"{len(result.losses)} epochs, every gradient a replay of one tape")
    epochs = np.arange(1, len(result.losses) + 1)
    upper, lower = part.add_axes((0.14, 0.49, 0.8, 0.34)), part.add_axes((0.14, 0.10, 0.8, 0.31))
    upper.semilogy(epochs, result.losses, color=LOSS, lw=2, marker="." if len(epochs) < 5 else None)
    lower.plot(epochs, np.multiply(100, result.accuracies), color=SCORE, lw=2, marker="." if len(epochs) < 5 else None)
    label(upper, "squared loss", f"{result.losses[-1]:.3f}", LOSS)
    label(lower, "test accuracy, %", f"{result.accuracies[-1]:.1%}", SCORE)
    upper.tick_params(labelbottom=False)
    lower.set_xlabel("epoch", color=INK)


def label(axes, name: str, last: str, color: str) -> None:
    """Name a curve and state where it ended; quiet lines behind it."""
    axes.set_ylabel(name, color=color)
    axes.text(0.98, 0.5, last, transform=axes.transAxes, color=color, ha="right", va="center", fontsize=17)
    axes.grid(color=PALE, lw=0.6, which="both")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, which="both", labelsize=9, length=0)


def draw_filters(part, A) -> None:
    """Each row of A_1 is a picture: what its unit looks for, red for ink and blue for its absence."""
    title(part, "First-layer filters", f"the {len(A)} rows of A₁ as 8 × 8 pixels, red asks for ink and blue for paper")
    for filter, axes in zip(A, cells(part, SIDE, gap=0.14), strict=False):
        extent = abs(filter).max()
        axes.imshow(filter.reshape(SIDE, SIDE), cmap="RdBu_r", vmin=-extent, vmax=extent)


def draw_mistakes(part, result) -> None:
    """Test images by how far the best wrong digit stands above the right one; below zero it was right, barely."""
    data = result.data
    outputs = digits.network(result.layers, data.test_images)
    right = data.test_labels == np.arange(10)[:, None]
    rival = np.where(right, -np.inf, outputs)
    margin = rival.max(axis=0) - outputs[right.argmax(axis=0), np.arange(len(data.test_labels))]
    wrong = np.count_nonzero(margin > 0)
    note = f"{wrong} of {len(margin)} test images misread; worst first" + (
        ", then the narrowest" if wrong < MISTAKES**2 else ""
    )
    title(part, "Worst mistakes", note)
    for i, axes in zip(np.argsort(-margin, kind="stable"), cells(part, MISTAKES, gap=0.30), strict=False):
        axes.imshow((data.test_images[:, i] * 8 + data.mean).reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=16)
        verdict, color = ("read as", LOSS) if margin[i] > 0 else ("nearly", INK)
        axes.set_title(f"{data.test_labels[i]} {verdict} {rival[:, i].argmax()}", fontsize=9, color=color, pad=3)


def cells(part, side: int, gap: float):
    """The axes of a square grid in reading order, bare of ticks."""
    grid = part.add_gridspec(side, side, left=0.06, right=0.95, bottom=0.05, top=0.83, hspace=gap, wspace=gap / 2)
    for cell in grid:
        axes = part.add_subplot(cell)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(PALE)
        yield axes
