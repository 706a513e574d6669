"""The client's way to RabbitMQ: one connection that publishes and one that consumes, made when first needed.

Two, since a broker that blocks publishers stops reading their connection, acknowledgements included.
"""

import asyncio

from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames

CONNECT_TIMEOUT = 10.0


class ClientBroker:
    """The links of one client, and the names on its broker."""

    def __init__(self, *, url: str, prefix: str) -> None:
        self.names = BrokerNames(prefix)
        self._url = url
        self._links: dict[str, BrokerLink] = {}
        self._opening = asyncio.Lock()

    async def publishing(self) -> BrokerLink:
        """The link to publish on, connected. Raises BrokerUnavailable after 10 s."""
        return await self._connected("client-publish")

    async def consuming(self) -> BrokerLink:
        """The link to consume on, connected. Raises BrokerUnavailable after 10 s."""
        return await self._connected("client-consume")

    async def close(self) -> None:
        """Close both."""
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.stop()

    async def _connected(self, name: str) -> BrokerLink:
        live = self._links.get(name)
        if live is not None and live.connected:
            return live
        async with self._opening:
            if name not in self._links:
                self._links[name] = BrokerLink(url=self._url, name=f"jobservice-{name}")
                await self._links[name].start()
            link = self._links[name]
        await link.wait_connected(CONNECT_TIMEOUT)
        return link
