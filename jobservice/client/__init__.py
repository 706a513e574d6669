"""What submitting services use: jobs by SQL or by messages, and events. Runs no job and decides no rule."""
