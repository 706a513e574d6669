"""The door for commands that come as messages."""
