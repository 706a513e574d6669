"""Consuming a named queue in groups: whatever is there, up to a number, handed over together, one group at a time.

Replies and acknowledgements of a group are under way while the next one is handled, in order.

Never requeues by itself: quorum queues count that, and a message returned too often is dead-lettered. Where a server
is away the group is kept and handed over again; only a handler that breaks gives its messages back, with the channel.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.driver import call
from jobservice.broker.gathering import Gathering
from jobservice.broker.incoming import Incoming
from jobservice.broker.intake import Intake
from jobservice.broker.settlement import Settlement
from jobservice.domain.errors import JobServiceError, UnavailableError

log = structlog.get_logger(__name__)

Handler = Callable[[Sequence[Incoming]], Awaitable[None]]

_CALL_TIMEOUT = 10.0


class GroupConsumer:
    """Consumes `queue` on `link`; `handler` decides each message of a group (`Incoming.ack`, `reject`, `reply`).

    A handler that raises UnavailableError gets the same undecided messages again, after a back-off. Any other error,
    or a message left undecided, closes the channel; what was undecided is delivered anew. After `watch` idle seconds
    it changes to a new channel.
    """

    def __init__(
        self,
        *,
        link: BrokerLink,
        queue: str,
        handler: Handler,
        settlement: Settlement,
        group: int = 100,
        prefetch: int = 200,
        watch: float = 30.0,
        backoff: Backoff | None = None,
        gathering: Gathering | None = None,
    ) -> None:
        """`gathering`: when what is there is worth a group; without it always."""
        self._link = link
        self._watch = watch
        self._queue = queue
        self._handler = handler
        self._settlement = settlement
        self._group = group
        self._prefetch = prefetch
        self._backoff = backoff or Backoff(first=0.2, longest=10.0)
        self._gathering = gathering or Gathering(patience=0)
        self._paused = False
        self._stopping = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to consume, in the background, as soon as the link is connected."""
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=f"consumer-{self._queue}")

    async def stop(self) -> None:
        """Take nothing more, let the group in hand end, give the rest back."""
        self._stopping = True
        self._changed.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def pause(self) -> None:
        """Stop consuming without giving anything back: what is in hand waits for `resume`."""
        self._paused = True
        self._changed.set()

    def resume(self) -> None:
        """Consume again."""
        self._paused = False
        self._changed.set()

    @property
    def paused(self) -> bool:
        """Whether consuming is paused."""
        return self._paused

    async def _run(self) -> None:
        interrupted = False
        while not self._stopping:
            if not self._link.connected or self._paused:
                await self._wait_until_wanted()
                continue
            intake: Intake | None = None
            since = self._now()
            try:
                if interrupted:
                    await self._link.set_up_again()  # the queue may be gone
                    interrupted = False
                intake = await self._open()
                await self._consume(intake)
                if intake.retired:
                    continue
                if not self._stopping:
                    log.warning("consumer.interrupt", queue=self._queue, reason="channel closed, or its queue deleted")
            except JobServiceError as error:
                log.warning("consumer.interrupt", queue=self._queue, reason=str(error))
            except Exception:
                log.exception("consumer.fail", queue=self._queue)
            finally:
                if intake is not None:
                    await intake.close()
            interrupted = True
            if self._now() - since > self._backoff.longest:
                self._backoff.reset()
            await self._pause_for(self._backoff.next())

    async def _wait_until_wanted(self) -> None:
        connected = asyncio.create_task(self._link.wait_connected())
        changed = asyncio.create_task(self._changed.wait())
        wanted = {changed} if self._paused else {changed, connected}
        try:
            await asyncio.wait(wanted, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connected.cancel()
            changed.cancel()
            self._changed.clear()

    async def _open(self) -> Intake:
        channel = await self._link.open_channel(timeout=_CALL_TIMEOUT)
        await call(
            channel.basic_qos(prefetch_count=self._prefetch), timeout=_CALL_TIMEOUT, doing="setting the prefetch"
        )
        return Intake(link=self._link, channel=channel, queue=self._queue, changed=self._changed)

    async def _consume(self, intake: Intake) -> None:
        try:
            await self._hand_over_all(intake)
        finally:
            await self._settled()

    async def _hand_over_all(self, intake: Intake) -> None:
        while not self._stopping and intake.open:
            if self._paused:
                await intake.cancel()
            elif not intake.consuming:
                await intake.consume()
            if intake.waiting and not self._paused:
                if wait := self._gathering.wait(intake.waiting, self._now()):
                    await self._wait_for_more(wait)
                else:
                    await self._hand_over(intake)
                continue
            self._changed.clear()
            if not intake.wants_attention(paused=self._paused) and not self._stopping:
                await self._wait_for_change(intake)

    async def _wait_for_more(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _wait_for_change(self, intake: Intake) -> None:
        try:
            async with asyncio.timeout(self._watch):
                await self._changed.wait()
        except TimeoutError:
            # A queue deleted and made again at once takes its consumers along without telling them, still counts them,
            # and cannot be consumed anew by their channel (seen on 3.10): only a new channel helps.
            # Not while something is in hand: what goes back is counted by quorum queues.
            settling = self._settling is not None and not self._settling.done()
            intake.retired = not (self._paused or intake.waiting or settling)

    async def _hand_over(self, intake: Intake) -> None:
        group = intake.take(self._group)
        try:
            await self._handler(group)
        except UnavailableError as error:
            log.warning("consumer.wait", queue=self._queue, messages=len(group), reason=str(error))
            await self._settle_next(group, intake)
            intake.put_back([message for message in group if not message.decided])
            await self._pause_for(self._backoff.next())
            return
        except BaseException:
            await self._settle_next(group, intake)
            raise
        undecided = sum(not message.decided for message in group)
        if undecided:
            await self._settle_next(group, intake)
            raise RuntimeError(f"the handler of {self._queue} left {undecided} messages undecided")
        await self._settled()
        self._settling = asyncio.create_task(self._settle_all(group, intake), name=f"consumer-settle-{self._queue}")
        self._gathering.handed_over(len(group), there=intake.waiting, now=self._now())

    async def _settle_all(self, group: Sequence[Incoming], intake: Intake) -> None:
        """On its own while the next group is handled; breaking, it gives back what is not settled."""
        try:
            await self._settle(group, intake)
            self._backoff.reset()
        except Exception:
            log.exception("consumer.fail", queue=self._queue)
            await intake.close()

    async def _settle_next(self, group: Sequence[Incoming], intake: Intake) -> None:
        """After the group before: an acknowledgement may be for all before it, too."""
        await self._settled()
        await self._settle(group, intake)

    async def _settled(self) -> None:
        """When the group before is settled."""
        if self._settling is not None:
            await self._settling
            self._settling = None

    async def _settle(self, group: Sequence[Incoming], intake: Intake) -> None:
        """Carry out the decisions; while the publishing connection is away, wait with the messages in hand."""
        while intake.open and any(message.decided for message in group):
            try:
                await self._settlement.settle(group, intake.channel, queue=self._queue)
            except UnavailableError as error:
                log.warning("consumer.settle", queue=self._queue, reason=str(error))
                await self._pause_for(self._backoff.next())
                if self._stopping:
                    return
            else:
                return

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _pause_for(self, seconds: float) -> None:
        """A back-off that a stop ends early."""
        until = self._now() + seconds
        while not self._stopping and (left := until - self._now()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        # Whatever else has changed meanwhile is looked at next.
        self._changed.set()
