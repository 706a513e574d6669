"""What a job class and a submitter see: AbstractJob, JobInfo, parameters, results. No server, no driver."""
