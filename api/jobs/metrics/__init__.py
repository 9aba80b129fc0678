"""The metrics of a job, step by step: all steps, or so many points that a chart of them looks the same."""
