"""One file for each: its no-op task and its client. Run in the peer's environment: none but ours imports ours."""
