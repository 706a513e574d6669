"""What any daemon does on its own initiative: due triggers, expiry, blocked keys, unpublished facts, retention."""
