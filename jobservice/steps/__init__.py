"""Jobs with steps: instances, checkpoints, chunks, partitions. docs/steps.md has the protocol."""
