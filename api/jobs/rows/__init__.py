"""/v1/fine_tuning/jobs/…/rows: which rows a job has learnt, and which it has not."""
