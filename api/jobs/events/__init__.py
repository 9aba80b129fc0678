"""The events of a job: the log that a client lists, or reads as a stream while the job goes on."""
