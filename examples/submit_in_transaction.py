"""Submit a job in one's own transaction: the order and its job are committed together, or neither is."""

import asyncio
import os
import sys

import asyncpg

from jobservice import JobInfo, JobInfoService

ORDERS = """
CREATE TABLE IF NOT EXISTS orders (
  number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer text NOT NULL,
  amount   integer NOT NULL CHECK (amount > 0),
  job_id   uuid NOT NULL
)"""


async def place_order(connection: asyncpg.Connection, jobs: JobInfoService, amount: int, job: JobInfo) -> JobInfo:
    async with connection.transaction():
        created = await jobs.create_as_queued(job, connection=connection)
        await connection.execute(
            "INSERT INTO orders (customer, amount, job_id) VALUES ($1, $2, $3)", job.tenant, amount, created.job_id
        )
    return created


async def main(root: str) -> None:
    url = os.environ["JOBSERVICE_DATABASE_URL"]
    connection = await asyncpg.connect(url)
    await connection.execute(ORDERS)
    async with JobInfoService.connect(url) as jobs:
        try:
            await place_order(connection, jobs, -1, JobInfo("ChecksumTree", tenant="hasty", parameters={"root": root}))
        except asyncpg.CheckViolationError:
            print(f"order refused; jobs of hasty: {await jobs.count(tenant='hasty')}")
        job = await place_order(connection, jobs, 3, JobInfo("ChecksumTree", tenant="acme", parameters={"root": root}))
        print(f"submitted {job.id}")
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
