"""What a check has found: the findings and the report. The API, the worker and a task's process use it."""
