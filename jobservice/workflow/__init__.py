"""Pipelines and their stages: created, commanded, and settled inside the transactions that change their jobs."""
