"""Runs claimed jobs: executors, one run told as a table of contents, its workspace. Decides nothing about states."""
