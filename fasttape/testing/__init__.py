"""Checks of derivatives for test suites, ours and yours."""

from fasttape.testing.check import check_grads

__all__ = ["check_grads"]
