"""How fair the rule of the claim is, in a model: `python -m benchmarks.fairness [--quick] [--only WORD]`.

A discrete-event model of tenants, slots and daemons (benchmarks/fair_model.py) around the rule in jobservice.domain.
Each line is one situation.

Jain's index is of slot-seconds, from claim to the written end, over what was due, while a tenant had a backlog: due is
its part, by weight, of all slots, shared by those that had one. Seeds are fixed: each machine gives the same figures.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.fair_loads import Delays, Lengths, Load, always, any_of, spread
from benchmarks.fair_model import Model
from benchmarks.fair_outcome import Outcome

EXACT = Delays(0.0, 0.0, 0.0)
"""No time passes between an end and the claim that knows of it."""
BUSY = Delays(0.003, 0.002, 0.003)
MIXED_MS = (0.001, 0.002, 0.005, 0.010, 0.020, 0.050)


@dataclass(frozen=True)
class Situation:
    """A line of the table."""

    name: str
    loads: Sequence[Load]
    slots: int
    until: float
    daemons: int = 1
    since: float = 0.0
    delays: Delays = BUSY

    def run(self) -> Outcome:
        """One run of the model."""
        return Model(
            self.loads, slots=self.slots, until=self.until, daemons=self.daemons, since=self.since,
            delays=self.delays,
        ).run()  # fmt: skip


def crowd(tenants: int, slots: int, shortest: float, longest: float, *, rounds: float) -> tuple[list[Load], float]:
    """Tenants of equal weight, always waiting: short jobs, long jobs, or any; `rounds` longest jobs are due to each."""
    until = rounds * longest * max(1.0, tenants / slots)
    kinds = (always(shortest), always(longest), spread(shortest, longest))
    return [Load(f"t{n:05}", kinds[n % 3], present=((0, until),)) for n in range(tenants)], until


def steady(quick: bool) -> Iterator[Situation]:
    """The same tenants all the time."""
    sizes = [(1, 1, 10), (1, 2, 100), (2, 3, 100), (3, 2, 100), (5, 3, 100), (16, 16, 30), (64, 20, 10), (4, 100, 10)]
    if not quick:
        sizes += [(2, 3, 1_000), (3, 2, 1_000), (64, 200, 20), (10, 1_000, 5), (64, 10_000, 3)]
    for slots, tenants, ratio in sizes:
        rounds = 40 if ratio < 1_000 and tenants < 1_000 else 12
        for name, delays in (("", BUSY), (", no delays", EXACT)):
            loads, until = crowd(tenants, slots, 10.0 / ratio, 10.0, rounds=rounds)
            yield Situation(
                f"steady: {tenants:,} tenants, {slots} slots, lengths 1 to {ratio:,}{name}",
                loads, slots, until, min(4, slots), delays=delays,
            )  # fmt: skip


def millisecond_jobs(quick: bool) -> Iterator[Situation]:
    """Jobs so short that the milliseconds between end, writing and claim matter."""
    for slots, daemons in ((1, 1), (2, 2), (10, 1), (20, 2)) if quick else ((1, 1), (2, 2), (10, 1), (20, 2), (64, 4)):
        loads = [Load("a", always(0.001), present=((0, 20),)), Load("b", always(0.05), present=((0, 20),))]
        yield Situation(f"short: 1 ms beside 50 ms, {slots} slots, {daemons} daemons", loads, slots, 20.0, daemons, 1.0)


def weighted(_quick: bool) -> Iterator[Situation]:
    """Weights that do not divide the slots."""
    hour = ((0.0, 3_600.0),)
    yield Situation(
        "weights: 3 and 1, 2 slots",
        [Load("a", always(0.5), 3, hour), Load("b", always(10), 1, hour)], 2, 3_600.0,
    )  # fmt: skip
    yield Situation(
        "weights: one 10, nineteen 1, 10 slots",
        [Load("a", always(0.5), 10, hour), *(Load(f"b{n}", always(2), 1, hour) for n in range(19))], 10, 3_600.0, 2,
    )  # fmt: skip


def come_and_go(quick: bool) -> Iterator[Situation]:
    """Tenants that come and go while others stay."""
    hour = 3_600.0
    breaks = tuple((float(t + 1), float(t + 10)) for t in range(0, int(hour), 10))
    stay = [Load("a", always(60), present=((0, hour),)), Load("b", always(0.5), present=((0, hour),))]
    breaking = Load("c", always(0.5), present=breaks)
    yield Situation("come and go: 60 s jobs beside 0.5 s, a third breaks, 10 slots", [*stay, breaking], 10, hour, 2)
    yield Situation(
        "come and go: one alone with 600 s jobs, then nine, 10 slots",
        [Load("a", always(600), present=((0, 2 * hour),))]
        + [Load(f"b{n}", always(3), present=((300, 2 * hour),)) for n in range(9)], 10, 2 * hour, 2,
    )  # fmt: skip
    for seed in (1,) if quick else (1, 2, 3):
        draw = random.Random(seed)
        loads = []
        for n in range(12):
            present, at = [], draw.uniform(0, 300)
            while at < 3 * hour:
                end = at + draw.expovariate(1 / 1800)
                present.append((at, min(end, 3 * hour)))
                at = end + draw.expovariate(1 / 600)
            loads.append(Load(f"t{n:02}", always(10 ** draw.uniform(0, 2.7)), present=tuple(present)))
        yield Situation(f"come and go: twelve at random, 1 to 500 s, 16 slots, seed {seed}", loads, 16, 3 * hour, 3)


def paused(_quick: bool) -> Iterator[Situation]:
    """A tenant is paused with jobs queued, and resumed."""
    hour = ((0.0, 3_600.0),)
    loads = [Load("a", always(1), present=hour, paused=(60, 1_260)), *(Load(n, always(1), present=hour) for n in "bcd")]
    yield Situation("pause: one of four paused for 20 minutes, 2 slots", loads, 2, 3_600.0, since=1_300.0)


def light_waits(name: str, slots: int, hot: Lengths | None) -> list[float]:
    """Waits of twenty light tenants, sorted; `hot` are the lengths of one tenant that never ends."""
    draw = random.Random(3)
    until = 30.0
    loads = [
        Load(f"light{n:02}", always(0.005), arrivals=sorted(draw.uniform(1, until) for _ in range(20)))
        for n in range(20)
    ]
    if hot is not None:
        loads.append(Load("hot", hot, present=((0, until),)))
    outcome = Situation(name, loads, slots, until, min(2, slots)).run()
    return sorted(wait for tenant, waits in outcome.waits.items() if tenant != "hot" for wait in waits)


def show_waits(quick: bool) -> None:
    """The table of waits."""
    print("\nwaits of 20 light tenants, ms: alone, and beside one whose backlog never ends")
    print(f"{'':44} {'median':>14} {'p99':>16} {'longest':>16}")
    hots = {"1 to 50 ms": any_of(MIXED_MS), "50 ms": always(0.05)} | ({} if quick else {"2 s": always(2.0)})
    for slots in (1, 4, 20, 64):
        for name, lengths in hots.items():
            found = [light_waits(name, slots, beside) for beside in (None, lengths)]
            cells = []
            for pick in (statistics.median, lambda w: w[int(len(w) * 0.99)], max):
                alone, beside_hot = (pick(waits) * 1000 for waits in found)
                cells.append(f"{alone:6.1f} {beside_hot:7.1f}")
            print(f"{slots} slots, hot jobs of {name:27} " + "   ".join(cells), flush=True)


GROUPS: dict[str, Callable[[bool], Iterator[Situation]]] = {
    "steady": steady, "short": millisecond_jobs, "weights": weighted, "come": come_and_go, "pause": paused,
}  # fmt: skip


def show_shares(quick: bool, only: str | None) -> None:
    """The table of shares."""
    print("Jain (smallest and largest part of what was due; longest without a slot, s)")
    for group, situations in GROUPS.items():
        if only not in (None, group):
            continue
        for situation in situations(quick):
            outcome = situation.run()
            low, high = outcome.extremes()
            dry = max(outcome.dry.values(), default=0.0)
            print(f"{situation.name:76} {outcome.jain():.4f} ({low:.2f} {high:.2f}; {dry:,.1f})", flush=True)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fairness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the small situations only")
    parser.add_argument("--only", choices=[*GROUPS, "waits"], help="one group of situations")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    if arguments.only != "waits":
        show_shares(arguments.quick, arguments.only)
    if arguments.only in (None, "waits"):
        show_waits(arguments.quick)
    print(f"\n{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
