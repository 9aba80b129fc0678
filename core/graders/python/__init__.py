"""Python graders: code of clients, which runs in a sandbox.

The API and the process of an eval run use it, both through their grader processes.
"""
