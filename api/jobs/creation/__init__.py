"""Makes a job from a client's request: checks the files and options, and fills in every `"auto"` and default.

The routes are in `api.jobs.endpoints` and `api.sweeps.endpoints`. Nothing here imports a route.
"""
