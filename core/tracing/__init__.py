"""Traces: which part of a request, a job or a task took how long, in which process. All processes import it.

`spans` is what other code calls. `sending` sends the spans to a collector, by the SDK of OpenTelemetry. It is
imported only if the environment names a collector; otherwise a span is an object that does nothing.
"""
