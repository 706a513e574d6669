"""All peers in turns, round by round, so that a noisy machine is noisy for all; then one table with ratios to ours."""

import argparse
import statistics
import sys
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from benchmarks.peers.environment import NotInstallable, programs, version
from benchmarks.peers.roster import PEERS, Peer, ours
from benchmarks.peers.turn import Turn, TurnFailed
from benchmarks.speed.figures import Figures, percentile
from benchmarks.speed.installation import Installation


@dataclass
class Place:
    """A peer's turns so far."""

    turn: Turn
    version: str
    figures: Figures = field(default_factory=Figures)
    failure: str = ""


async def compare(made: Installation, arguments: argparse.Namespace) -> bool:
    """The table; false where ours did not finish."""
    places, missing = await _places(made, arguments.peers or [])
    for number in range(arguments.rounds):
        for place in places:
            if place.failure:
                continue
            print(f"round {number + 1}: {place.turn.peer.name}", file=sys.stderr)
            try:
                await place.turn.take(place.figures, jobs=arguments.jobs, singles=arguments.singles // arguments.rounds)
            except TurnFailed as error:
                place.failure = str(error)
    _show(places)
    for line in missing:
        print(f"  {line}")
    return not any(place.failure for place in places if place.turn.peer.adapter == "jobservice")


async def _places(made: Installation, names: list[str]) -> tuple[list[Place], list[str]]:
    """Those that can be installed, each with a database of its own, and why the others cannot."""
    places, missing = [], []
    for peer in (*ours(), *(peer for peer in PEERS if not names or peer.name in names)):
        try:
            directory = programs(peer)
        except NotInstallable as error:
            missing.append(f"{peer.name}: not compared, {error}")
            continue
        url = await _database(made, peer)
        turn = Turn(peer=peer, programs=directory, database_url=url, amqp_url=made.servers.amqp_url)
        places.append(Place(turn=turn, version=version(peer, directory)))
    return places, missing


async def _database(made: Installation, peer: Peer) -> str:
    name = f"benchmark_{(peer.adapter or peer.name)}"
    await made.database.execute(f"DROP DATABASE IF EXISTS {name}")
    await made.database.execute(f"CREATE DATABASE {name}")
    return urlunsplit(urlsplit(made.servers.database_url)._replace(path=f"/{name}"))


def _show(places: list[Place]) -> None:
    base = statistics.median(places[0].figures.values.get("drain", [0.0])) or 1.0
    heads = ("drain /s", "lowest to highest", "x ours", "confirmed /s", "bulk /s", "start ms p50 / p99")
    print(f"  {'':24} {heads[0]:>9} {heads[1]:>18} {heads[2]:>7} {heads[3]:>13} {heads[4]:>9} {heads[5]:>19}  keeps")
    for place in places:
        name = f"{place.turn.peer.name} {place.version}".strip()
        values = place.figures.values
        if place.failure or "drain" not in values:
            print(f"  {name:24} did not finish: {place.failure}")
            continue
        drain = statistics.median(values["drain"])
        spread = f"{min(values['drain']):,.0f} to {max(values['drain']):,.0f}"
        confirmed = f"{statistics.median(values['confirmed']):,.0f}" if "confirmed" in values else "-"
        start = f"{statistics.median(values['start']):.1f} / {percentile(values['start'], 0.99):.1f}"
        bulk = statistics.median(values["bulk"])
        print(
            f"  {name:24} {drain:>9,.0f} {spread:>18} {drain / base:>7.2f} {confirmed:>13} {bulk:>9,.0f} {start:>19}"
            f"  {place.turn.peer.keeps}"
        )
    for place in places:
        print(f"  {place.turn.peer.name}: {place.turn.peer.setting}")
