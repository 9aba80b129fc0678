"""Jobs of every method over the API of a service that is started for them, and the scores of their adapters.

The modules run in the process of a command of `bench`; `plain` runs in a process of its own.
"""
