"""One row is all that an operation needs: a process that adds one sees it work in every part of the package."""

import pathlib
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).with_name("extended_table.py")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["called", "inline"])
def test_a_row_added_at_run_time_works_everywhere(kind):
    """Once as an operation whose code is called, once as one whose code the sweeps hold."""
    root = PROGRAM.parents[1]
    command = [sys.executable, "-W", "error", str(PROGRAM), kind]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment(root), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "the row works"


def environment(root):
    import os

    return os.environ | {"PYTHONPATH": str(root)}
