"""Readers and writers for chunk steps: files of any store, and SQL by key. docs/batch.md.

Users import from here. Made of `jobservice.sdk` alone: nothing here knows the daemon, and nothing of it imports this.
"""

from jobservice.batch.checksums import Checksum
from jobservice.batch.column import Column
from jobservice.batch.copying import copy
from jobservice.batch.errors import BadRow, BatchError, ChecksumMismatch, FileLost, HeaderMismatch, UnknownName
from jobservice.batch.file_reader import CsvReader, FileReader, FixedWidthReader, JsonLinesReader, TsvReader
from jobservice.batch.file_writer import CsvWriter, FileWriter, FixedWidthWriter, JsonLinesWriter, TsvWriter
from jobservice.batch.keyset_reader import KeysetReader
from jobservice.batch.merging import merge
from jobservice.batch.patterns import expanded
from jobservice.batch.splitting import split

__all__ = [
    "BadRow",
    "BatchError",
    "Checksum",
    "ChecksumMismatch",
    "Column",
    "CsvReader",
    "CsvWriter",
    "FileLost",
    "FileReader",
    "FileWriter",
    "FixedWidthReader",
    "FixedWidthWriter",
    "HeaderMismatch",
    "JsonLinesReader",
    "JsonLinesWriter",
    "KeysetReader",
    "TsvReader",
    "TsvWriter",
    "UnknownName",
    "copy",
    "expanded",
    "merge",
    "split",
]
