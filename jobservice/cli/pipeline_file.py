"""Files of pipelines, stages and jobs: YAML, and so JSON. What cannot be read is told with its line and column."""

import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from jobservice.cli.exits import BadUsage

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Refuses a member that is there twice: YAML forbids it, and the second one would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_pipeline(file: Path) -> dict[str, Any]:
    """The pipeline in a file. Raises BadUsage, saying where."""
    pipeline = read_yaml(file)
    if isinstance(pipeline, dict) and set(pipeline) == {"pipeline"}:
        pipeline = pipeline["pipeline"]
    if not isinstance(pipeline, dict):
        raise BadUsage(f"{_place(file)} is to hold one pipeline: an object with name and stages")
    return pipeline


def read_yaml(file: Path) -> Any:
    """What is in a file, or on standard input for `-`. Raises BadUsage, saying where."""
    where = _place(file)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return yaml.load(text, _Loader)  # a SafeLoader
    except OSError as error:
        raise BadUsage(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadUsage(f"{where} cannot be read: byte {error.start} is no UTF-8") from error
    except yaml.YAMLError as error:
        raise BadUsage(f"{where}{_told(error)}") from error


def _place(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)


def _told(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f" is no YAML: {' '.join(str(error).split())}"
    mark, told = error.problem_mark, ", ".join(filter(None, (error.context, error.problem)))
    return f", line {mark.line + 1}, column {mark.column + 1}: {told}"
