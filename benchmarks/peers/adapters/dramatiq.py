"""dramatiq over RabbitMQ, without confirms, which is its default; eight threads, which is its default, too."""

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from benchmarks.peers.meter import ran

broker = RabbitmqBroker(url=os.environ.get("BENCHMARK_BROKER", "amqp://"))
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(n: int) -> None:
    ran()


def reset() -> None:
    broker.declare_queue("default", ensure=True)
    broker.flush("default")


def bulk(count: int) -> None:
    for n in range(count):
        noop.send(n)


def single() -> None:
    noop.send(1)
