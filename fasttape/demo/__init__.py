"""The demonstration: a formula, a regression and a deep network, on real data, each checked against another way.

It uses the public functions only. `run` prints what it finds and leaves a figure and a graph in a folder.
"""

import importlib.util
import pathlib
import time

EXTRAS = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "rich": "rich"}


def missing() -> list[str]:
    """The packages of the `demo` extra that are not installed."""
    return [package for module, package in EXTRAS.items() if importlib.util.find_spec(module) is None]


def run(out: pathlib.Path, epochs: int, seed: int) -> None:
    """All three parts; writes `example1.dot` and `digits.png` into the folder `out`."""
    # The extras come in here, after the command has made sure that they are there.
    from fasttape.demo import digits, example1, figure, regression

    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    heading("1  One formula, by hand and by tape")
    graph = out / "example1.dot"
    graph.write_text(example1.show())
    heading("2  Linear regression on the diabetes data: gradient descent against least squares")
    regression.show()
    heading(f"3  A deep network on images of digits (seed {seed})")
    result = digits.show(epochs, seed)
    picture = out / "digits.png"
    figure.draw(result, picture)
    heading("Written")
    print(f"{picture}   loss and accuracy, first-layer filters, worst mistakes")
    print(f"{graph}   computational graph of part 1; draw it with: dot -Tpng {graph}")
    print(f"The demo took {time.perf_counter() - start:.1f} s.")


def heading(text: str) -> None:
    """A line that opens a part."""
    print(f"\n{text}\n{'─' * len(text)}")
