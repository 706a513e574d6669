"""Free TCP ports on 127.0.0.1, and whether something listens on one. Never keeps a port reserved."""

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nothing used a moment ago; whoever binds one may still lose the race."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def answer(host: str, port: int, question: bytes, *, timeout: float = 2.0) -> bytes:
    """Return the first byte that the server sends back to `question`, or nothing when there is no such server."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(question)
            return connection.recv(1)
    except OSError:
        return b""
