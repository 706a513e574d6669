"""A job by the clock: added, asked for its next dates, run once at once, and taken away again."""

import asyncio
import os
import sys

from jobservice import JobInfo, JobInfoService, Schedule


async def main(root: str) -> None:
    url = os.environ["JOBSERVICE_DATABASE_URL"]
    async with JobInfoService.connect(url) as jobs:
        nightly = Schedule(
            "nightly",
            JobInfo("ChecksumTree", parameters={"root": root}, description="tree of {fire_date:%Y-%m-%d}"),
            cron="30 2 * * *",
            time_zone="Europe/Berlin",
            catch_up="all",
            overlap="queue",
        )
        await jobs.schedules.add(nightly, replace=True)
        for date in await jobs.schedules.next_dates("nightly", 3):
            print(date.isoformat())
        ended = await jobs.wait(await jobs.schedules.run_now("nightly"), timeout=60)
        print(f"{ended.status}: {ended.description}")
        await jobs.schedules.remove("nightly")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
