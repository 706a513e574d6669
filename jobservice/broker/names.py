"""Every name on the broker, from one prefix. Nothing else in the package spells an exchange or a queue."""

from dataclasses import dataclass

from jobservice.domain.errors import ConfigurationError
from jobservice.domain.names import is_name

OPERATOR_KEY = "_operator"
"""The routing key of commands that belong to no tenant."""

PIPELINES_NOTED = "pipelines."
"""Stands before the name of a durable subscription to pipelines where it is noted: no name of its own has a dot."""


@dataclass(frozen=True, slots=True)
class BrokerNames:
    """The names of one installation; several share a broker by their prefixes."""

    prefix: str = "jobservice"

    def __post_init__(self) -> None:
        if not is_name(self.prefix):
            raise ConfigurationError(
                f"broker.prefix {self.prefix!r} is not a name: use letters, digits, - and _, at most 64, no dot"
            )

    @property
    def events(self) -> str:
        """Topic exchange of every status change."""
        return f"{self.prefix}.events"

    @property
    def pipelines(self) -> str:
        """Topic exchange of every status change of pipelines and stages."""
        return f"{self.prefix}.pipelines"

    @property
    def submit(self) -> str:
        """Topic exchange that takes submissions; the routing key is the tenant."""
        return f"{self.prefix}.submit"

    @property
    def submissions(self) -> str:
        """Queue behind `submit`."""
        return f"{self.prefix}.submissions"

    @property
    def command(self) -> str:
        """Topic exchange that takes commands; the routing key is the tenant, or `_operator`."""
        return f"{self.prefix}.command"

    @property
    def control(self) -> str:
        """Queue behind `command`."""
        return f"{self.prefix}.control"

    @property
    def rejected(self) -> str:
        """Queue of messages that could not be accepted."""
        return f"{self.prefix}.rejected"

    def subscription(self, name: str, *, exchange: str | None = None) -> str:
        """Queue of the durable subscription `name` to jobs' events, or to those of another exchange."""
        if not is_name(name):
            raise ConfigurationError(
                f"{name!r} cannot name a subscription: use letters, digits, - and _, at most 64, no dot"
            )
        return f"{exchange or self.events}.{name}"

    def noted_subscription(self, noted: str) -> str:
        """Queue of the durable subscription that is noted so."""
        if noted.startswith(PIPELINES_NOTED):
            return self.subscription(noted.removeprefix(PIPELINES_NOTED), exchange=self.pipelines)
        return self.subscription(noted)
