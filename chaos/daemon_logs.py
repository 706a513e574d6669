"""Reads what daemons logged: errors that nobody foresaw, of which the service only says that it goes on."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_TOLD_BY_OTHERS = frozenset({"daemon.lost", "run.give_up"})
"""Errors that are the very subject of a run; their consequences are checked."""


def unforeseen(logs: Iterable[Path]) -> list[str]:
    """One line for each kind of error, with how often it came."""
    kinds = Counter(kind for log in logs for line in _lines(log) if (kind := _kind(line)) is not None)
    return [f"{count} x {kind}" for kind, count in kinds.most_common()]


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    for text in log.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            line = {"event": text, "level": "unstructured"}
        yield line if isinstance(line, dict) else {"event": text, "level": "unstructured"}


def _kind(line: dict[str, Any]) -> str | None:
    event = str(line.get("event"))
    if event in _TOLD_BY_OTHERS:
        return None
    if line.get("exception"):
        return f"{event}: {str(line['exception']).splitlines()[-1][:200]}"
    if line.get("level") in ("error", "critical", "unstructured"):
        return f"{event}: {str(line.get('reason', ''))[:200]}"
    return None
