"""Measures requests, claims and heartbeats on a database of a million jobs: `python -m bench.scale`.

fill          Size, and the order in which the tables are filled
numbered      SQL functions: everything about a row follows from its number
rows          the statements that fill the tables of all jobs, but for the events
rows_of_some  the same for candidates, uploads and secrets, and what follows from metrics
events        the events, which are most of the bytes
quick         settings of Postgres with which a table fills several times as fast, and no crash is survived
requests      the requests of clients and of the dashboard that read
posts         requests that write or compute
writes        what the workers ask of the database: claims, heartbeats, scans
document      when and where something is measured
workers       many workers at once: `python -m bench.scale.workers`
"""
