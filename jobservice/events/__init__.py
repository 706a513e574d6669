"""The relay: from committed facts to confirmed events, at least once, and in order per job."""
