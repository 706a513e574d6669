"""The same from a service that reaches RabbitMQ only: submission, answer and end of the job all go by messages."""

import asyncio
import os
import sys

from jobservice import JobInfo, JobInfoService


async def main(root: str) -> None:
    url = os.environ["JOBSERVICE_AMQP_URL"]
    async with JobInfoService.connect(amqp_url=url, tenant="acme") as jobs:
        job = await jobs.create_as_queued(JobInfo("ChecksumTree", tenant="acme", parameters={"root": root}))
        print(f"submitted {job.id}")
        ended = await jobs.wait(job.id, timeout=60)
        print(f"{ended.status}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
