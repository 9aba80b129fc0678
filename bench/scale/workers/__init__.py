"""Lets many workers claim, renew, report and look for work at one Postgres: `python -m bench.scale.workers`.

It needs no trainer and no model: a worker is a few coroutines that call the service's own functions.

coroutines    runs these functions, which wait for the database, without a thread for each
duties        what one worker asks of the database
rates         how often
worker        the coroutines of a worker
jobs          the projects and jobs that are claimed
operations    each duty alone: its time, and the time of Postgres that it costs
crowd         many workers at once, with clients that poll the API beside them
polls         the clients that poll
evidence      what Postgres says: processor time, waits, bloat, bytes
monitored     what Prometheus asks of the database, by the API
figures       percentiles
page          the page of results
"""
