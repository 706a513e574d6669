"""The job classes that the daemon runs out of the box: one file each. They import `jobservice` and nothing below it."""
