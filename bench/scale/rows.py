"""The statements that fill all tables but the events, with rows as wide as those of a service that trains."""

from __future__ import annotations

from bench.scale import rows_of_some
from bench.scale.numbered import FILES_OF_A_PROJECT, FULL_DATA, LONG_JOBS, LONG_STEPS, VALUES, Size
from core.catalog import SMOLLM2

NUMBERED_JOBS = "(SELECT n, pg_temp.job_status(n) AS status FROM generate_series(1, {jobs}) AS n) AS numbers"
OWNER = "'host-' || w || ':' || lpad(to_hex(w), 32, '0')"
SHA256 = "repeat(md5('x'), 2)"
ENDPOINT = "'whe_' || repeat('0', 32)"

# Each can be run after those before it
STATEMENTS = {
    "projects": """
INSERT INTO projects (id, name)
SELECT pg_temp.project_id(n), 'project-' || n FROM generate_series(0, {projects} - 1) AS n
""",
    "files": """
INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, object_key, rows, kind, created_at)
SELECT pg_temp.file_id(p, n), pg_temp.project_id(p),
    pg_temp.word(n * 1000 + p, 5) || '-' || pg_temp.word(n * 1000 + p, 6) || '-' || n || '.jsonl',
    'fine-tune', 100000 + n, {sha256}, 'files/' || pg_temp.file_id(p, n), 1000, 'chat', pg_temp.moment(n)
FROM generate_series(0, {projects} - 1) AS p, generate_series(0, {files} - 1) AS n
""",
    "result files": """
INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, object_key, created_at)
SELECT 'file-' || right(pg_temp.job_id(n), 32), pg_temp.project_id(pg_temp.project_number(n)),
    'step_metrics.csv', 'fine-tune-results', 5000, {sha256},
    'results/' || pg_temp.job_id(n) || '/1/step_metrics.csv', pg_temp.moment(n)
FROM {numbered_jobs} WHERE status = 'succeeded'
""",
    "jobs": """
INSERT INTO jobs (
    id, project_id, base_model, training_file_id, suffix, client_metadata, spec, is_sweep, created_at,
    status, fence, started_at, finished_at, error, fine_tuned_model, trained_tokens, result_file_id
)
SELECT
    pg_temp.job_id(n), pg_temp.project_id(pg_temp.project_number(n)), '{model}',
    pg_temp.file_id(pg_temp.project_number(n), n),
    CASE WHEN n % 3 > 0 THEN pg_temp.word(n, 7) || '-' || pg_temp.word(n, 8) END,
    CASE WHEN n % 2 = 1 THEN jsonb_build_object('team', pg_temp.word(n, 9), 'run', n::text) END,
    pg_temp.spec(n), pg_temp.is_sweep(n), pg_temp.moment(n),
    status, CASE WHEN status = 'queued' THEN 0 ELSE 1 END,
    CASE WHEN status <> 'queued' THEN pg_temp.moment(n) + interval '1 minute' END,
    CASE WHEN has_ended THEN pg_temp.moment(n) + interval '1 minute' * (2 + pg_temp.dice(n, 10, 180)) END,
    CASE WHEN status = 'failed'
        THEN jsonb_build_object('code', 'worker_lost', 'message', 'The trainer was lost', 'param', NULL) END,
    CASE WHEN status = 'succeeded' THEN
        'ft:{model}:project-' || pg_temp.project_number(n) || '::' || right(pg_temp.job_id(n), 12) END,
    CASE WHEN status = 'succeeded' THEN 10000 + n % 1000000 END,
    CASE WHEN status = 'succeeded' THEN 'file-' || right(pg_temp.job_id(n), 32) END
FROM {numbered_jobs}, LATERAL (SELECT status IN ('succeeded', 'failed', 'cancelled') AS has_ended) AS ended
""",
    "names of jobs": """
DROP INDEX ix_job_names_terms; -- terms that are added row by row take many times as long
INSERT INTO job_names (job_id, project_id, names) SELECT id, project_id, names_of_job(jobs) FROM jobs;
CREATE INDEX ix_job_names_terms ON job_names USING gin (job_search_terms(project_id, names))
""",
    "runs": """
INSERT INTO runs (
    job_id, fence, owner, token, started_at, expires_at, ended_at, outcome, phase, step, total_steps, epoch,
    tokens_per_second, trained_tokens, best_valid_loss, best_step
)
SELECT id, 1, {owner}, right(id, 32), started_at,
    CASE WHEN status = 'running' THEN now() + interval '30 days' ELSE started_at + interval '3 hours' END,
    CASE WHEN status = 'paused' THEN started_at + interval '1 hour' ELSE finished_at END,
    CASE WHEN status <> 'running' THEN status END, 'training', 80, 90, 2.7, 900, 100000, 1.5, 70
FROM (SELECT *, floor(random() * {workers})::int AS w FROM jobs WHERE fence = 1) AS started
""",
    "adapters": """
INSERT INTO adapters (id, project_id, job_id, object_prefix, files, training, created_at)
SELECT 'adapter-' || right(id, 32), project_id, id, 'adapters/' || id || '/1-' || right(id, 32),
    (SELECT jsonb_agg(jsonb_build_object('name', name, 'bytes', 1000, 'sha256', {sha256})) FROM unnest(ARRAY[
        'adapter_config.json', 'adapter_model.safetensors', 'tokenizer.json', 'README.md']) AS name),
    jsonb_build_object('base_revision', right(id, 32), 'type', 'lora', 'path', 'factored', 'steps', 90,
        'trained_tokens', trained_tokens, 'train_loss', 1.2, 'valid_loss', 1.3, 'target_modules',
        '["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]'::jsonb),
    finished_at
FROM jobs WHERE status = 'succeeded'
""",
    "checkpoints": """
INSERT INTO checkpoints (id, job_id, fence, step, ends_epoch, metrics, object_prefix, files, created_at)
SELECT 'ftckpt-' || right(id, 32), id, 1, 90, true,
    jsonb_build_object('step', 90, 'train_loss', 1.2, 'valid_loss', 1.3),
    'checkpoints/' || id || '/1-' || right(id, 32) || '/90',
    jsonb_build_array(jsonb_build_object('name', 'state.safetensors', 'bytes', 1, 'sha256', {sha256})),
    finished_at
FROM jobs WHERE status = 'succeeded'
""",
    "metrics": """
INSERT INTO metrics (job_id, step, data)
SELECT pg_temp.job_id(job), n, {values}
FROM generate_series(1, {jobs}, {full}) AS job, LATERAL generate_series(
    1, CASE WHEN job % ({jobs} / {long_jobs}) = 1 THEN {long_steps} ELSE {events_of_a_job} END) AS n
""",
    "audit log": """
INSERT INTO audit_logs (id, project_id, action, resource_id, request_id, created_at)
SELECT 'audit_log-' || right(pg_temp.job_id(n), 32), pg_temp.project_id(pg_temp.project_number(n)),
    'job.created', pg_temp.job_id(n), 'req_' || right(pg_temp.job_id(n), 32), pg_temp.moment(n)
FROM generate_series(1, {jobs}) AS n
""",
    "webhook endpoints": """
INSERT INTO webhook_endpoints (id, project_id, name, url, event_types, sealed_secret, secret_hint)
VALUES ({endpoint}, pg_temp.project_id(0), 'all', 'https://example.com', ARRAY[]::text[], '', 'abcd')
""",
    "webhook deliveries": """
INSERT INTO webhook_deliveries (
    id, endpoint_id, event_type, payload, status, attempts, next_attempt_at, last_attempt_at, response_code
)
SELECT 'whd_' || right(pg_temp.job_id(n), 32), {endpoint}, 'fine_tuning.job.succeeded',
    jsonb_build_object('id', 'evt_' || n, 'data', jsonb_build_object('id', pg_temp.job_id(n))),
    'delivered', 1, NULL, now(), 200
FROM generate_series(1, {jobs}, 8) AS n
""",
    "workers": """
INSERT INTO workers (
    owner, host, release, devices, device_type, device_name, memory_bytes, memory_used_bytes, expires_at
)
SELECT {owner}, 'host-' || w, '0', 1, 'cuda', 'a GPU', 80000000000, 70000000000, now() + interval '30 days'
FROM generate_series(0, {workers} - 1) AS w
""",
}


def statements(size: Size) -> dict[str, str]:
    """Return the statement that fills each table, in an order in which they can be run."""
    values = {
        "jobs": size.jobs,
        "projects": size.projects,
        "files": FILES_OF_A_PROJECT,
        "workers": 20,
        "full": FULL_DATA,
        "long_jobs": LONG_JOBS,
        "long_steps": LONG_STEPS,
        "events_of_a_job": size.events_of_a_job,
        "model": SMOLLM2.id,
        "numbered_jobs": NUMBERED_JOBS.format(jobs=size.jobs),
        "values": VALUES.format(total=LONG_STEPS),
        "owner": OWNER,
        "sha256": SHA256,
        "endpoint": ENDPOINT,
        "uploads_pending": rows_of_some.UPLOADS_PENDING,
    }
    both = STATEMENTS | rows_of_some.STATEMENTS
    return {name: statement.format(**values) for name, statement in both.items()}
