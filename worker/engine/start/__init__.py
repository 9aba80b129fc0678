"""Initial values of an adapter that need more than its own layers: the source weights, or the job's rows.

The training thread of the first process computes them once, when a job is attached.
"""
