"""Writes the schemas and the AsyncAPI document into a directory: `python -m jobservice.contract DIRECTORY`."""

import json
import sys
from pathlib import Path

from jobservice.contract import asyncapi
from jobservice.contract.schemas import schemas


def texts() -> dict[str, str]:
    """File → its text."""
    documents = {asyncapi.FILE: asyncapi.document(), **schemas()}
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()}


def main(directory: Path) -> None:
    """Writes all files."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
