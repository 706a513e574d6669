"""A peer's client in the peer's environment: `python -m benchmarks.peers.client NAME`, one question a line, one answer.

Questions: {"do": "reset"}, {"do": "bulk", "count": n}, {"do": "single"}, {"do": "left"}. The adapter has a function for
each, plain or async, and `connect` before them; `left` tells how many jobs its store does not yet have as ended.
"""

import asyncio
import importlib
import inspect
import json
import os
import sys
import time
from types import ModuleType


async def answer(adapter: ModuleType, question: dict[str, object]) -> dict[str, object]:
    """Do it, and tell when it began and how long it took."""
    began, clock = time.time(), time.perf_counter()
    given = {key: value for key, value in question.items() if key != "do"}
    value = getattr(adapter, str(question["do"]))(**given)
    if inspect.isawaitable(value):
        value = await value
    return {"began": began, "seconds": time.perf_counter() - clock, "value": value}


async def main(name: str) -> None:
    """Until there are no more questions."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    adapter = importlib.import_module(f"benchmarks.peers.adapters.{name}")
    if hasattr(adapter, "connect"):
        await adapter.connect()
    while line := await asyncio.to_thread(sys.stdin.readline):
        answers.write(json.dumps(await answer(adapter, json.loads(line))) + "\n")
        answers.flush()
    os._exit(0)  # connections end with the process; there is nothing to finish


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
