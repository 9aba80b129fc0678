"""`tunery up` and the parts that it starts and watches: servers, API and worker as child processes.

The module `programs` has the commands that these child processes run.
"""
