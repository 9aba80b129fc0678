"""The metrics of a job, step by step: all steps, or a selection of which a chart looks the same."""
