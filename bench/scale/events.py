"""Fills the table of events: first the rows, then the indexes, since both at once take much longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from bench.scale.numbered import DAYS, FULL_DATA, LONG_JOBS, VALUES, Size
from bench.scale.progress import say_step

BESIDE = 50  # so many jobs train at the same time, so their events alternate

# One row for each group of jobs that train at the same time. What is the same for a whole step of a group is
# computed once: this halves the time.
INSERT = """
INSERT INTO events (sequence, id, job_id, created_at, level, type, message, data) OVERRIDING SYSTEM VALUE
SELECT
    step.before + at, step.id || to_hex(hashint8extended(step.before + at, 11) & mask | digits), job_id,
    created_at, 'info', type, CASE step.number WHEN 0 THEN message || job_id ELSE message END,
    CASE WHEN step.number >= 3 AND (job_before + at * {apart}) % {full} = 1 % {full}
        THEN (SELECT {values} FROM (SELECT step.number AS n) AS of_step) END
FROM
    (SELECT x'0fffffffffffffff'::bigint AS mask, x'1000000000000000'::bigint AS digits) AS sixteen_digits,
    ({groups}) AS groups,
    LATERAL (
        SELECT number, before, pg_temp.moment(before * {jobs}::numeric / {events}) AS created_at,
            'ftevent-' || left(pg_temp.uuid(before * {year} / {events}, 0, 0), 16) AS id,
            CASE WHEN number < 3 THEN 'message' WHEN number % {rare} = 0 THEN 'samples' ELSE 'metrics' END
                AS type,
            CASE
                WHEN number = 0 THEN 'Created fine-tuning job: '
                WHEN number = 1 THEN 'Files validated, moving job to queued state'
                WHEN number = 2 THEN 'Fine-tuning job started'
                WHEN number % {rare} = 0 THEN 'Samples at step ' || number
                ELSE 'Step ' || number || '/{total}: training loss=1.23' END AS message
        FROM (
            SELECT number, events_before + (number - {first_step}) * {beside}::bigint AS before
            FROM generate_series({first_step}, {first_step} + {steps} - 1) AS number
        ) AS numbered OFFSET 0
    ) AS step,
    LATERAL unnest(job_ids) WITH ORDINALITY AS jobs_of_group (job_id, at)
"""
ORDINARY = """
SELECT {beside} * g AS job_before, {beside}::bigint * {steps} * g AS events_before,
    ARRAY(SELECT pg_temp.job_id({beside} * g + at) FROM generate_series(1, {beside}) AS at) AS job_ids
FROM generate_series(0, {jobs} / {beside} - 1) AS g OFFSET 0
"""
LONG = """
SELECT 1 - {apart} AS job_before, {before}::bigint AS events_before,
    ARRAY(SELECT pg_temp.job_id(at * {apart} + 1) FROM generate_series(0, {beside} - 1) AS at) AS job_ids
"""
KEYS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = 'events'::regclass AND contype IN ('p', 'u') ORDER BY contype DESC"""
PLAIN = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE tablename = 'events' AND indexname NOT IN (SELECT conname FROM pg_constraint)
    ORDER BY indexdef DESC"""


def fill(connection: psycopg.Connection[Any], size: Size) -> None:
    """Fill the table. It must be empty, and nobody else may use it."""
    with without_indexes(connection), connection.transaction():
        # Postgres writes no log for a table that was emptied in the same transaction (wal_level = minimal)
        connection.execute("TRUNCATE events")
        connection.execute(_ordinary(size))
        say_step("events of the long jobs")
        connection.execute(_long(size))
    connection.execute(
        "SELECT setval(pg_get_serial_sequence('events', 'sequence'), max(sequence)) FROM events"
    )


@contextmanager
def without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Drop the indexes of the table, and make them again after the block, packed to save disk."""
    keys = connection.execute(KEYS).fetchall()
    plain = connection.execute(PLAIN).fetchall()
    for name, _ in keys:
        connection.execute(f"ALTER TABLE events DROP CONSTRAINT {name}")
    for name, _ in plain:
        connection.execute(f"DROP INDEX {name}")
    yield
    # The largest first, while there is most room on the disk for sorting
    for name, definition in plain:
        say_step(f"{name}")
        connection.execute(f"{definition} WITH (fillfactor = 100)")
    for name, definition in keys:
        say_step(f"{name}")
        connection.execute(f"ALTER TABLE events ADD CONSTRAINT {name} {definition} WITH (fillfactor = 100)")
    for name, _ in plain + keys:
        connection.execute(f"ALTER INDEX {name} RESET (fillfactor)")


def _ordinary(size: Size) -> str:
    steps = size.events_of_a_job
    groups = ORDINARY.format(beside=BESIDE, steps=steps, jobs=size.jobs)
    return _insert(size, groups, beside=BESIDE, apart=1, steps=steps, first_step=0, rare=25, full=FULL_DATA)


def _long(size: Size) -> str:
    """Return the statement that adds further steps to LONG_JOBS jobs."""
    apart, before = size.jobs // LONG_JOBS, size.jobs * size.events_of_a_job
    groups = LONG.format(beside=LONG_JOBS, apart=apart, before=before)
    return _insert(
        size,
        groups,
        beside=LONG_JOBS,
        apart=apart,
        steps=size.long_events,
        first_step=size.events_of_a_job,
        rare=5000,
        full=1,
    )


def _insert(size: Size, groups: str, **numbers: int) -> str:
    total = numbers["first_step"] + numbers["steps"] - 1
    values = VALUES.format(total=total)  # of step n
    year = f"{DAYS * 86_400_000}::bigint"
    return INSERT.format(
        groups=groups, values=values, jobs=size.jobs, events=size.events, year=year, total=total, **numbers
    )
