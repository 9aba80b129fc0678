"""Jobs of every method over the API of a service that is started for them, and the scores of their adapters.

`methods`, `e2e_nlg`, `automatic_rank`, `tool_calls` and `warm_start` are commands. The last one asks a
service that runs already. `plain` runs in a process of its own.
"""
