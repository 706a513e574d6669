"""The only writer of job state: each transition is one guarded update with its outbox row, in one transaction."""
