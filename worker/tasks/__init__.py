"""Tasks, such as exports: the thread that starts a process for each, and the frame of that process.

The thread runs in the supervising process. What a task computes has a package of its own: `worker/exports`.
"""
