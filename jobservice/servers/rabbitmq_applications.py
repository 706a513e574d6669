"""Which of the applications that come with RabbitMQ a node without plugins needs, by what they declare.

A node looks through all that lie beside its own one, some seventy, and a search in so many directories costs half of
its boot (4.5 s against 2.3 s on two busy cores). So the node is shown those that it needs, in a directory of links,
and the others at the end of the code path: what is missed in the first place is still found.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

_NODE = "rabbit"
_DECLARED = re.compile(r"\{\s*(?:included_)?applications\s*,\s*\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class CodePath:
    """Directories of applications to look into first, and of compiled modules to look into last."""

    first: Path
    last: tuple[Path, ...] = ()


def code_path(plugins: Path, links: Path) -> CodePath:
    """Fill `links` anew with links into `plugins`; `plugins` itself where its layout is not the one known here."""
    applications = {file.stem: file.parent.parent for file in sorted(plugins.glob("*/ebin/*.app"))}
    if _NODE not in applications or any(plugins.glob("*.ez")):  # archives, as older versions have them
        return CodePath(plugins)
    needed = _needed(applications)
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    for name in needed:
        (links / applications[name].name).symlink_to(applications[name])
    others = (directory / "ebin" for name, directory in applications.items() if name not in needed)
    return CodePath(links, tuple(others))


def _needed(applications: dict[str, Path]) -> set[str]:
    """The node's application and all that it depends on; what is not among them is Erlang's own."""
    waiting, needed = [_NODE], set[str]()
    while waiting:
        name = waiting.pop()
        if name in applications and name not in needed:
            needed.add(name)
            declared = (applications[name] / "ebin" / f"{name}.app").read_text(errors="replace")
            waiting += re.findall(r"\w+", ",".join(_DECLARED.findall(declared)))
    return needed
