"""PostgreSQL and RabbitMQ in containers, for tests, where a container engine answers. Never installs an engine.

`testcontainers` is asked for only when this module is used: it belongs to the development environment.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from jobservice.domain.errors import ServerStartError

POSTGRES_IMAGE = "postgres:18"
RABBITMQ_IMAGE = "rabbitmq:4"
_ANSWER_TIMEOUT = 2


def engine_answers() -> bool:
    """Whether a container engine answers within two seconds (a hanging one would take a minute)."""
    return _client() is not None


def images_present() -> bool:
    """Whether both images are there, so that nothing must be downloaded."""
    client = _client()
    if client is None:
        return False
    tags = {tag for image in client.images.list() for tag in image.tags}
    return {POSTGRES_IMAGE, RABBITMQ_IMAGE} <= tags


@contextmanager
def container_database() -> Iterator[str]:
    """Give the URL of a PostgreSQL in a container of its own. Raises ServerStartError."""
    with _started("postgres", "PostgresContainer", POSTGRES_IMAGE, username="jobs", dbname="postgres") as container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
        yield f"postgresql://jobs:{container.password}@{host}:{port}/postgres"


@contextmanager
def container_broker() -> Iterator[str]:
    """Give the URL of a RabbitMQ in a container of its own. Raises ServerStartError."""
    with _started("rabbitmq", "RabbitMqContainer", RABBITMQ_IMAGE) as container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(container.port)
        yield f"amqp://{container.username}:{container.password}@{host}:{port}/"


@contextmanager
def _started(module: str, kind: str, image: str, **arguments: str) -> Iterator[Any]:
    if _client() is None:
        raise ServerStartError("no container engine answers; start one, or choose another way to the servers")
    with ExitStack() as stack:
        try:
            container = stack.enter_context(getattr(_module(module), kind)(image, **arguments))
        except _docker_errors() as error:
            raise ServerStartError(
                f"{image} did not start ({error}); is the image there, or can it be pulled?"
            ) from error
        yield container


def _module(name: str) -> Any:
    """Its place moved between releases; the old one still answers, with a warning."""
    try:
        return import_module(f"testcontainers.community.{name}")
    except ModuleNotFoundError:
        return import_module(f"testcontainers.{name}")


def _client() -> Any:
    """The engine that testcontainers would use, or None."""
    try:
        docker = import_module("docker")
        find_host = import_module("testcontainers.core.docker_client").get_docker_host
    except ModuleNotFoundError:
        return None
    try:
        host = find_host()
        client = (
            docker.DockerClient(base_url=host, timeout=_ANSWER_TIMEOUT)
            if host
            else docker.from_env(timeout=_ANSWER_TIMEOUT)
        )
        client.ping()
    except _docker_errors():
        return None
    return client


def _docker_errors() -> tuple[type[BaseException], ...]:
    errors = import_module("docker.errors")
    return (errors.DockerException, OSError)
