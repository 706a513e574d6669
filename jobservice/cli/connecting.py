"""From settings to the client: how every command reaches the servers."""

from contextlib import AbstractAsyncContextManager

from jobservice.cli.call import Call
from jobservice.client.service import JobInfoService
from jobservice.domain.errors import ConfigurationError


def jobs_of(call: Call) -> AbstractAsyncContextManager[JobInfoService]:
    """The client for this call's settings; it connects to each server when first needed."""
    settings = call.settings
    if settings.database_url is None and settings.amqp_url is None:
        raise ConfigurationError(
            "neither database nor broker is named: give --database-url (or --amqp-url), set JOBSERVICE_DATABASE_URL, "
            "or write database_url into config/jobservice.toml; `jobservice up` starts private servers"
        )
    return JobInfoService.connect(
        settings.database_url,
        settings.amqp_url,
        schema=settings.database.schema_name,
        prefix=settings.broker.prefix,
        statement_cache=settings.database.statement_cache,
    )


def database_url_of(call: Call) -> str:
    """The database's URL. Raises ConfigurationError where none is set."""
    if call.settings.database_url is None:
        raise ConfigurationError("this needs the database: give --database-url or set JOBSERVICE_DATABASE_URL")
    return call.settings.database_url


def amqp_url_of(call: Call) -> str:
    """The broker's URL. Raises ConfigurationError where none is set."""
    if call.settings.amqp_url is None:
        raise ConfigurationError("this needs the broker: give --amqp-url or set JOBSERVICE_AMQP_URL")
    return call.settings.amqp_url
