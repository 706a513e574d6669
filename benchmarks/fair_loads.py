"""What tenants of the fairness model submit, how long their jobs take, and how long daemons and database take."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Lengths = Callable[[random.Random], float]
"""Draws the length of a job, in seconds."""


def always(seconds: float) -> Lengths:
    """Jobs of one length."""
    return lambda _: seconds


def any_of(lengths: Sequence[float]) -> Lengths:
    """Jobs of mixed lengths."""
    return lambda draw: draw.choice(lengths)


def spread(shortest: float, longest: float) -> Lengths:
    """Lengths from the one to the other, each order of magnitude as likely as the next."""
    ratio = longest / shortest
    return lambda draw: shortest * ratio ** draw.random()


@dataclass(frozen=True)
class Load:
    """What a tenant submits: more than it can ever run in each window of `present`, one job at each of `arrivals`."""

    name: str
    lengths: Lengths
    weight: float = 1.0
    present: Sequence[tuple[float, float]] = ()
    arrivals: Sequence[float] = ()
    paused: tuple[float, float] | None = None


@dataclass(frozen=True)
class Delays:
    """Seconds, the longest of each: before a claim is made, until its choice is made, until an end is written."""

    gather: float = 0.003
    turnstile: float = 0.002
    flush: float = 0.003
