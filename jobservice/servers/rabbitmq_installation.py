"""Where RabbitMQ and its Erlang are. The order: JOBSERVICE_RMQ_ROOT, the fetched tree, the system, Homebrew."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobservice.domain.errors import ServerStartError
from jobservice.servers import rabbitmq_fetch


@dataclass(frozen=True, slots=True)
class RabbitmqInstallation:
    """RabbitMQ's directory (with `plugins`), Erlang's root, and where the libraries of an unpacked tree are."""

    rabbitmq: Path
    erlang: Path
    libraries: tuple[Path, ...]

    @property
    def version(self) -> str:
        """The version, as the plugin of that name tells."""
        for plugin in self.plugins.glob("rabbit-[0-9]*"):
            return plugin.name.removeprefix("rabbit-").removesuffix(".ez")
        return "?"

    @property
    def plugins(self) -> Path:
        """RabbitMQ's own code."""
        return self.rabbitmq / "plugins"

    @property
    def programs(self) -> Path:
        """Erlang's runtime programs, with `erlexec`."""
        return max(self.erlang.glob("erts-*/bin"), key=_numbers_in)


def find_or_fetch_rabbitmq(announce: Callable[[str], None]) -> RabbitmqInstallation:
    """Return the RabbitMQ of this machine, or fetch one into the user's cache. Raises ServerStartError."""
    found = find_rabbitmq()
    if found is None:
        try:
            root = rabbitmq_fetch.fetch(offline=rabbitmq_fetch.offline_asked(), announce=announce)
        except rabbitmq_fetch.FetchError as error:
            raise ServerStartError(str(error)) from error
        found = _in_tree(root)
    if found is None:
        raise ServerStartError(f"{rabbitmq_fetch.cache_root()} holds no RabbitMQ; remove it, it will be fetched again")
    return found


def find_rabbitmq() -> RabbitmqInstallation | None:
    """Return the RabbitMQ of this machine, or None. Raises ServerStartError when a wrong one is named."""
    if given := os.environ.get("JOBSERVICE_RMQ_ROOT"):
        found = _in_tree(Path(given))
        if found is None:
            raise ServerStartError(
                f"JOBSERVICE_RMQ_ROOT={given} holds no RabbitMQ: usr/lib/rabbitmq and usr/lib/erlang are expected there"
            )
        return found
    trees = (_in_tree(root) for root in (rabbitmq_fetch.cache_root(), Path("/")))
    return next((found for found in (*trees, *_in_homebrew()) if found is not None), None)


def _in_tree(root: Path) -> RabbitmqInstallation | None:
    """RabbitMQ in a tree laid out as Debian's and Red Hat's packages do."""
    versions = sorted(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"), key=_numbers_in)
    runtimes = [path.parent.parent.parent for path in root.glob("usr/lib*/erlang/erts-*/bin/erlexec")]
    if not versions or not runtimes:
        return None
    unpacked = () if root == Path("/") else (*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*"))
    return RabbitmqInstallation(versions[-1], runtimes[0], unpacked)


def _in_homebrew() -> Iterator[RabbitmqInstallation | None]:
    for prefix in (Path("/opt/homebrew/opt"), Path("/usr/local/opt")):
        runtimes = sorted(prefix.glob("erlang*/lib/erlang/erts-*/bin/erlexec"), key=_numbers_in)
        if (prefix / "rabbitmq" / "plugins").is_dir() and runtimes:
            yield RabbitmqInstallation(prefix / "rabbitmq", runtimes[-1].parent.parent.parent, ())


def _numbers_in(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]
