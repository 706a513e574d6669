"""Which published messages the broker has confirmed: pure book-keeping over delivery tags, one batch at a time."""

import asyncio
from collections.abc import Sequence

from jobservice.broker.frames import OutgoingMessage


class Batch:
    """Messages on their way: tags `first` to `last`, in order. `settled` ends when each is confirmed or refused."""

    def __init__(self, messages: Sequence[OutgoingMessage], first: int, settled: "asyncio.Future[None]") -> None:
        self.messages = messages
        self.first = first
        self.last = first + len(messages) - 1
        self.settled = settled
        self.refused: int | None = None
        self.returned: list[int] = []


class Ledger:
    """The tags of one channel. Tags below `low` are settled; `apart` holds settled ones above it."""

    def __init__(self) -> None:
        self._next = 1
        self._low = 1
        self._apart: set[int] = set()
        self._batch: Batch | None = None

    def open(self, messages: Sequence[OutgoingMessage], settled: "asyncio.Future[None]") -> Batch:
        """Give the next tags to `messages`. An earlier batch may still be open: nobody waits for it any more."""
        batch = self._batch = Batch(messages, self._next, settled)
        self._next += len(messages)
        return batch

    def withdraw(self, batch: Batch) -> None:
        """Take the tags back: nothing of `batch` was sent."""
        self._next = batch.first
        self._batch = None

    def confirm(self, tag: int, *, multiple: bool, positive: bool) -> None:
        """The broker settled `tag`, with `multiple` all up to it; not `positive`: it refused them."""
        batch = self._batch
        if batch is not None and not positive and tag >= batch.first:
            refused = max(self._low, batch.first) if multiple else tag
            batch.refused = refused if batch.refused is None else min(batch.refused, refused)
        self._settle(tag, multiple=multiple)
        if batch is not None and self._low > batch.last and not batch.settled.done():
            batch.settled.set_result(None)

    def give_back(self, routing_key: str | None, message_id: str | None) -> None:
        """No queue took a mandatory message; its confirmation follows."""
        batch = self._batch
        if batch is None:
            return
        for index, message in enumerate(batch.messages):
            own_id = message.properties.message_id if message.properties is not None else message.message_id
            same = message.routing_key == routing_key and (own_id or None) == (message_id or None)
            if same and index not in batch.returned:
                batch.returned.append(index)
                return

    def first_open(self, batch: Batch) -> int | None:
        """Index of the first message of `batch` that was not confirmed; None when all were."""
        candidates = [batch.first + index for index in batch.returned]
        if batch.refused is not None:
            candidates.append(batch.refused)
        if self._low <= batch.last:
            candidates.append(max(self._low, batch.first))
        return min(candidates) - batch.first if candidates else None

    def _settle(self, tag: int, *, multiple: bool) -> None:
        if tag < self._low:
            return
        if multiple:
            self._low = tag + 1
            self._apart = {other for other in self._apart if other > tag}
        elif tag == self._low:
            self._low += 1
        else:
            self._apart.add(tag)
        while self._low in self._apart:
            self._apart.remove(self._low)
            self._low += 1
