"""Claims for the free slots of one daemon, again and again."""
