"""`python -m benchmarks [--only NAME ...] [--seed N] [--json FILE]`."""

import argparse
import json
import pathlib
import sys

import numpy as np

from benchmarks import harness, report
from benchmarks.problems import PROBLEMS


def main() -> int:
    """Measure what was asked for; exit status 1 if a goal was missed and `--strict` asks to know."""
    names = [problem.name for problem in PROBLEMS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names, help=", ".join(names))
    parser.add_argument(
        "--seed", type=int, help="measure a variant drawn from this seed: sizes, orders, extra operations"
    )
    parser.add_argument("--json", type=pathlib.Path, help="write everything to this file as well")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 when a goal is missed")
    arguments = parser.parse_args()
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    environment = report.environment()
    print(report.text(environment, command), flush=True)
    summaries = []
    for problem in PROBLEMS:
        if problem.name in arguments.only:
            rng = None if arguments.seed is None else np.random.default_rng(arguments.seed)
            summaries.append(harness.summary(problem, harness.measure(problem, rng)))
            print(report.table(summaries[-1]), flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": command, "seed": arguments.seed, "environment": environment, "problems": summaries}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    missed = [figure for summary in summaries for figure in summary["figures"] if not figure["reached"]]
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
