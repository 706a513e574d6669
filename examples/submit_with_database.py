"""Submit a job from another service that may use JobService's database; wait for it and read its result."""

import asyncio
import os
import sys

from jobservice import JobInfo, JobInfoService


async def main(root: str) -> None:
    url = os.environ["JOBSERVICE_DATABASE_URL"]
    async with JobInfoService.connect(url) as jobs:
        job = await jobs.create_as_queued(
            JobInfo("ChecksumTree", tenant="acme", parameters={"root": root}, priority="HIGH", owner="nightly")
        )
        print(f"submitted {job.id}")
        ended = await jobs.wait(job.id, timeout=60)
        print(f"{ended.status}: {ended.error_message or ended.result['count']}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
