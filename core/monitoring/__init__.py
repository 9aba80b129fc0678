"""The service metrics: what Prometheus reads of a running service.

`declared` lists all of them. API, worker and server record theirs with a `Recorder`, each in its processes.
The API and the worker show them on a page that has a port of its own.
"""
