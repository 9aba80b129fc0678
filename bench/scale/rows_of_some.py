"""The statements that fill further tables: candidates, uploads, secrets, and what follows from metrics."""

from __future__ import annotations

UPLOADS_PENDING = 100  # one of so many uploads has not ended

STATEMENTS = {
    "extremes of metrics": """
INSERT INTO metric_extremes SELECT extremes.*
FROM metrics, LATERAL extremes_of_metrics(job_id, -1, step / 50) AS extremes WHERE step % 50 = 49
""",
    "candidates": """
INSERT INTO candidates (job_id, number, status, step, trained_tokens, rungs)
SELECT pg_temp.job_id(n), number, CASE number WHEN 0 THEN 'won' ELSE 'dropped' END, 90, 100000, '[]'
FROM generate_series(9, {jobs}, 1000) AS n, generate_series(0, 1) AS number
""",
    "metrics of candidates": """
INSERT INTO candidate_metrics (job_id, number, step, data)
SELECT pg_temp.job_id(job), number, n, {values}
FROM generate_series(9, {jobs}, 1000) AS job, generate_series(0, 1) AS number, LATERAL generate_series(
    1, CASE WHEN job < 1000 * {long_jobs} THEN {long_steps} ELSE 90 END) AS n
""",
    "extremes of candidates": """
INSERT INTO metric_extremes SELECT extremes.*
FROM candidate_metrics, LATERAL extremes_of_candidate_metrics(job_id, number, step / 50) AS extremes
WHERE step % 50 = 49
""",
    "uploads": """
INSERT INTO uploads (
    id, project_id, filename, purpose, bytes, created_at, expires_at, status, ended_at
)
SELECT 'upload_' || right(pg_temp.job_id(n), 32), pg_temp.project_id(pg_temp.project_number(n)),
    'rows-' || n || '.jsonl', 'fine-tune', 100000, pg_temp.moment(n), pg_temp.moment(n) + interval '30 days',
    CASE WHEN is_pending THEN 'pending' ELSE 'cancelled' END,
    CASE WHEN NOT is_pending THEN pg_temp.moment(n) END
FROM generate_series(1, {jobs}) AS n, LATERAL (SELECT n % {uploads_pending} = 1 AS is_pending) AS state
""",
    "parts of uploads": """
INSERT INTO upload_parts (id, upload_id, bytes)
SELECT 'part_' || right(id, 32), id, 100000 FROM uploads WHERE status = 'pending'
""",
    "artifacts": """
INSERT INTO artifacts (id, project_id, owner_kind, owner_id, prefix, state, bytes, rounds, expires_at)
SELECT 'artifact-f' || id, project_id, 'file', id, object_key, 'kept', bytes, 1, NULL FROM files
UNION ALL SELECT 'artifact-u' || id, project_id, 'upload', id, 'uploads/' || id || '/', 'writing', bytes, 3,
    now() + interval '1 day' FROM uploads WHERE status = 'pending'
UNION ALL SELECT 'artifact-t' || id, project_id, 'task', id, NULL, 'kept', 100, 1, NULL FROM tasks
""",
    "secrets": """
INSERT INTO secrets (project_id, name, sealed)
SELECT pg_temp.project_id(pg_temp.project_number(n)), 'SECRET_' || n, repeat('x', 200)
FROM generate_series(1, {jobs}) AS n
""",
}
