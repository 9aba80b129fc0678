"""Initial values of an adapter that need more than its own layers: the source weights, or the job's rows.

They are computed once, in the first process, when a job is attached; this runs on the training thread.
"""
