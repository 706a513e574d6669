"""Owns the ways of one client to the service: by SQL, by messages, or both; and who says what is missing.

Made and closed by JobInfoService.
"""

from jobservice.client.amqp_jobs import AmqpJobs
from jobservice.client.asking import Asking
from jobservice.client.broker import ClientBroker
from jobservice.client.database import ClientDatabase
from jobservice.client.sql_jobs import SqlJobs
from jobservice.domain.errors import ConfigurationError


class Ways:
    """What is None is not configured."""

    def __init__(
        self, *, database: ClientDatabase | None, broker: ClientBroker | None, schema: str, tenant: str | None
    ) -> None:
        self.database = database
        self.broker = broker
        self.sql = SqlJobs(database=database, schema=schema) if database is not None else None
        self.asking = Asking(broker=broker, tenant=tenant) if broker is not None else None
        self.amqp = AmqpJobs(broker=broker, asking=self.asking) if broker is not None and self.asking else None

    @property
    def jobs(self) -> SqlJobs | AmqpJobs:
        """By SQL where there is a database, else by messages."""
        return self.sql or self.need_amqp()

    def need_database(self, what: str) -> ClientDatabase:
        """Raises ConfigurationError, naming what takes the database."""
        if self.database is None:
            raise ConfigurationError(f"{what} needs the database: give JobInfoService.connect a database_url")
        return self.database

    def need_sql(self, what: str) -> SqlJobs:
        """The same for jobs."""
        self.need_database(what)
        assert self.sql is not None
        return self.sql

    def need_broker(self, what: str) -> ClientBroker:
        """Raises ConfigurationError, naming what takes the broker."""
        if self.broker is None:
            raise ConfigurationError(f"{what} needs the broker: give JobInfoService.connect an amqp_url")
        return self.broker

    def need_amqp(self) -> AmqpJobs:
        """The same for jobs."""
        self.need_broker("this")
        assert self.amqp is not None
        return self.amqp

    async def close(self) -> None:
        """End all connections."""
        if self.amqp is not None:
            await self.amqp.close()
        if self.broker is not None:
            await self.broker.close()
        if self.database is not None:
            await self.database.close()
