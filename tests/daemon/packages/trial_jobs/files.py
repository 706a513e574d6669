"""A job that copies a file in chunks, then once more in four parts that are merged."""

from typing import Annotated

from pydantic import BaseModel

from jobservice import AbstractJob
from jobservice.batch import Checksum, Column, CsvReader, CsvWriter, TsvReader, TsvWriter, merge
from jobservice.sdk.steps import Chunk


class Row(BaseModel):
    number: Annotated[int, Column(name="No")]
    text: str


COPIED = CsvWriter("{directory}/copied.csv", Row, checksum=Checksum("md5"))


class CopiesFiles(AbstractJob):
    directory: str
    steps = (
        Chunk(
            "whole",
            read=CsvReader("{directory}/source.csv", Row),
            write=TsvWriter("{directory}/middle.tsv", Row),
            size=150,
        ),
        Chunk(
            "parts",
            read=TsvReader("{directory}/middle.tsv", Row),
            write=COPIED,
            size=150,
            partitions=4,
            aggregate=merge(COPIED),
        ),
    )
