"""Work: what is done once for a project beside training, such as an export.

`kinds` says what kinds there are. A task is one piece of work, and one process at a time has it. `client` has
the writes of who asks for it, and `lease` those of the process that does it.
"""
