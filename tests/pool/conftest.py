"""Runs, on every executor and on the loop alone."""

from runs import loop_pool, pool

__all__ = ["loop_pool", "pool"]
