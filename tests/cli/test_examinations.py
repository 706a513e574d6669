"""What `doctor` says of the broker: what is missing there is named, and what to do about it."""

from pathlib import Path

from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames
from jobservice.broker.topology import declare
from jobservice.cli.examinations import Finding, examine
from jobservice.config import Settings


async def test_an_exchange_that_an_older_daemon_did_not_make_is_named(
    amqp_url: str, broker_prefix: str, tmp_path: Path
) -> None:
    settings = Settings(amqp_url=amqp_url, broker={"prefix": broker_prefix}, workspace={"directory": tmp_path})
    names = BrokerNames(broker_prefix)
    async with BrokerLink(url=amqp_url, name="test", set_up=lambda channel: declare(channel, names)) as link:
        await link.wait_connected(20)
        whole = await of_exchanges(settings)
        await (await link.open_channel()).exchange_delete(names.pipelines)
        lacking = await of_exchanges(settings)

    assert (whole.well, whole.finding) == (True, "all there")
    assert (lacking.well, lacking.finding) == (None, f"{names.pipelines} not there")
    assert "daemon" in lacking.advice


async def of_exchanges(settings: Settings) -> Finding:
    findings = {finding.what: finding for finding in await examine(settings)}
    return findings["exchanges of the broker"]
