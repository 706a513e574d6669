"""celery over RabbitMQ: results ignored, prefetch 128 as its page on optimizing says for short tasks, two children."""

import os

from celery import Celery

from benchmarks.peers.meter import ran

app = Celery("benchmark", broker=os.environ.get("BENCHMARK_BROKER"))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=128, worker_send_task_events=False)


@app.task(name="noop", ignore_result=True)
def noop(n: int) -> None:
    ran()


def reset() -> None:
    app.control.purge()


def bulk(count: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for n in range(count):
            noop.apply_async((n,), producer=producer)


def single() -> None:
    noop.delay(1)
