"""The commands: `python -m fasttape demo` and `python -m fasttape warmup`."""

import argparse
import pathlib
import sys
import time
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit status."""
    arguments = parser().parse_args(argv)
    return warmup() if arguments.command == "warmup" else demo(arguments)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    top = argparse.ArgumentParser(prog="python -m fasttape", description="Automatic differentiation on a flat tape.")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("warmup", help="compile the sweeps into the cache on disk, for images and CI")
    demo = commands.add_parser("demo", help="trace a formula, fit a line, train a network on digit images")
    demo.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("demo-out"), help="folder of the figure and graph"
    )
    demo.add_argument("--epochs", type=positive, default=60, help="passes over the digit images (default 60)")
    demo.add_argument("--seed", type=int, default=0, help="draws the first weights, the batches and the split")
    return top


def positive(text: str) -> int:
    """A whole number from 1 up."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of epochs; one or more make sense")
    return number


def demo(arguments: argparse.Namespace) -> int:
    """Run the demonstration, or say what is missing for it."""
    from fasttape import demo

    absent = demo.missing()
    if absent:
        print(f'The demo needs {" and ".join(absent)}. Install with: pip install "fasttape[demo]"', file=sys.stderr)
        return 1
    demo.run(arguments.out, arguments.epochs, arguments.seed)
    return 0


def warmup() -> int:
    """Take small gradients of each kind, so that every sweep is compiled and on disk."""
    import numpy as np

    import fasttape as ft

    start = time.perf_counter()
    weights, point = np.eye(2), np.ones(2)
    ft.grad(lambda x: x * x)(3.0)
    ft.grad(lambda a: np.sum(np.tanh(a @ point) ** 2))(weights)
    ft.jvp(lambda a: np.sum(np.tanh(a @ point) ** 2), (weights,), (weights,))
    ft.compile(lambda x: x * x)(3.0)
    ft.jacrev(lambda a: np.tanh(a @ a))(weights)
    ft.jacfwd(lambda x: x * x[:1])(np.ones(9))
    ft.hessian(lambda x: np.sum(x * x * x))(np.ones(9))
    ft.vmap(ft.grad(lambda x: x * x))(np.ones(9))
    ft.vjp(lambda x: x * x, 3.0)[1](1.0)
    ft.linearize(lambda x: x * x, 3.0)[1](1.0)
    tape = ft.record(lambda x: x[0] * x[0] + x[1] * x[1] + x[0] * x[1] + x[1] * x[0], [3.0, 4.0])
    tape.optimize().jvp(([3.0, 4.0],), ([1.0, 0.0],))
    tape.grad([3.0, 4.0])
    print(f"The sweeps are compiled and cached ({time.perf_counter() - start:.1f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
