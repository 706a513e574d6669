"""From committed facts, of jobs and of pipelines, to confirmed events: at least once, and in order per job."""
