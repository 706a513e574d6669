"""The door for submissions that come as messages."""
