"""What a daemon tells the world: the relay of jobs' facts and the sweep of pipelines' facts, with their loops.

Both publish over the daemon's one publishing connection, each on a channel of its own, and neither waits for the other.
"""

from collections.abc import Callable
from uuid import UUID

from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames
from jobservice.broker.publisher import Publisher
from jobservice.events.pipeline_sweep import PipelineSweep
from jobservice.events.relay import Relay
from jobservice.loop import Loop
from jobservice.store.outbox import Outbox
from jobservice.store.pipeline_outbox import PipelineOutbox
from jobservice.store.session import Session

INTERVAL = 1.0


class Publishing:
    """Built by the daemon, which starts and stops the loops."""

    def __init__(
        self,
        *,
        session: Session,
        link: BrokerLink,
        names: BrokerNames,
        daemon_id: UUID,
        schema: str,
        result_max_bytes: int,
        confirm: Callable[[int], None],
    ) -> None:
        """`confirm` is told the id of each outbox row whose events the broker has."""
        self.relay = Relay(
            session=session,
            outbox=Outbox(schema=schema),
            publisher=Publisher(link=link, exchange=names.events),
            daemon_id=daemon_id,
            result_max_bytes=result_max_bytes,
            confirm=confirm,
            wake=lambda: relay_loop.wake(),
        )
        self.pipeline_sweep = PipelineSweep(
            session=session,
            outbox=PipelineOutbox(schema=schema),
            publisher=Publisher(link=link, exchange=names.pipelines),
            wake=lambda: pipeline_loop.wake(),
        )
        relay_loop = Loop(name="relay", run_once=self.relay.run_once, interval=INTERVAL)
        pipeline_loop = Loop(name="pipeline events", run_once=self.pipeline_sweep.run_once, interval=INTERVAL)
        self.loops = [relay_loop, pipeline_loop]

    def sweep(self) -> None:
        """Facts were written that no living daemon publishes by itself."""
        self.relay.sweep()
        self.pipeline_sweep.sweep()
