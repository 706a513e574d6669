"""The command line on a database of the file's own."""

from command_line import run
from databases import database_url, module_database_url

__all__ = ["database_url", "module_database_url", "run"]
