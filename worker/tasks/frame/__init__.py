"""What all tasks share: the thread that starts a process for each task, and the frame of that process.

The thread runs in the supervising process. What a task computes has a folder of its own beside this one.
"""
