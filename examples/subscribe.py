"""Follow the jobs of a tenant from another service: each status change is booked once, whatever is restarted."""

import asyncio
import os
import sqlite3
import sys

from jobservice import JobInfoService


def book(books: sqlite3.Connection, job_id: str, sequence: int, status: str) -> bool:
    """Note a status; False where this or a later one is noted already. Events are published at least once."""
    with books:
        done = books.execute(
            "INSERT INTO job VALUES (?, ?, ?) ON CONFLICT (job_id) DO UPDATE"
            " SET sequence = excluded.sequence, status = excluded.status WHERE excluded.sequence > job.sequence",
            (job_id, sequence, status),
        )
    return done.rowcount == 1


async def main(file: str) -> None:
    books = sqlite3.connect(file)
    books.execute("CREATE TABLE IF NOT EXISTS job (job_id text PRIMARY KEY, sequence integer, status text)")
    async with (
        JobInfoService.connect(amqp_url=os.environ["JOBSERVICE_AMQP_URL"], tenant="acme") as jobs,
        jobs.events(tenant="acme", durable="billing") as events,
    ):
        print("subscribed", flush=True)
        async for event in events:
            if book(books, str(event.job_id), event.sequence, event.status):
                print(f"{event.job_id} {event.sequence} {event.status}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
