"""Daemons under faults: `./dev chaos`. Breaks what can break, then asks whether anything was lost."""
