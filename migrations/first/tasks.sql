CREATE TABLE evals (
    id varchar CONSTRAINT pk_evals PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_evals_project_id REFERENCES projects,
    job_id varchar CONSTRAINT fk_evals_job_id REFERENCES jobs,
    name varchar NOT NULL,
    data_source_config jsonb NOT NULL,
    criteria jsonb NOT NULL,
    client_metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX ix_evals_job_id ON evals (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX ix_evals_project_id ON evals (project_id, id) WHERE deleted_at IS NULL;

CREATE TABLE tasks (
    id varchar CONSTRAINT pk_tasks PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_tasks_project_id REFERENCES projects,
    kind varchar NOT NULL,
    adapter_id varchar CONSTRAINT fk_tasks_adapter_id REFERENCES adapters,
    eval_id varchar CONSTRAINT fk_tasks_eval_id REFERENCES evals,
    file_id varchar CONSTRAINT fk_tasks_file_id REFERENCES files,
    job_id varchar CONSTRAINT fk_tasks_job_id REFERENCES jobs,
    made_file_id varchar CONSTRAINT fk_tasks_made_file_id REFERENCES files,
    request jsonb NOT NULL,
    started_by_job boolean NOT NULL DEFAULT false,
    status varchar NOT NULL DEFAULT 'queued'
        CONSTRAINT ck_tasks_status CHECK (status IN ('queued', 'running', 'succeeded', 'failed',
        'cancelled')),
    phase varchar,
    done double precision NOT NULL DEFAULT '0',
    fence integer NOT NULL DEFAULT 0,
    holder varchar,
    held_until timestamptz,
    losses integer NOT NULL DEFAULT 0,
    error jsonb,
    report jsonb,
    object_prefix varchar,
    files jsonb NOT NULL DEFAULT '[]',
    bytes bigint NOT NULL DEFAULT '0',
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    expires_at timestamptz,
    deleted_at timestamptz,
    CONSTRAINT ck_tasks_finished_at
        CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT ck_tasks_only_a_failed_task_has_an_error CHECK ((status = 'failed') = (error IS NOT NULL)),
    CONSTRAINT ck_tasks_a_running_task_is_held CHECK (status <> 'running' OR held_until IS NOT NULL)
);
CREATE INDEX ix_tasks_adapter_id_id ON tasks (adapter_id, id);
CREATE INDEX ix_tasks_eval_id_id ON tasks (eval_id, id) WHERE eval_id IS NOT NULL;
CREATE INDEX ix_tasks_expires_at ON tasks (expires_at) WHERE deleted_at IS NULL;
CREATE INDEX ix_tasks_file_id_id ON tasks (file_id, id) WHERE file_id IS NOT NULL;
CREATE INDEX ix_tasks_job_id ON tasks (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX ix_tasks_judged_model ON tasks (project_id, (request ->> 'model'))
    WHERE eval_id IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_tasks_kept ON tasks (project_id) WHERE deleted_at IS NULL;
CREATE INDEX ix_tasks_open ON tasks (project_id, id) WHERE finished_at IS NULL;
CREATE INDEX ix_tasks_served ON tasks (project_id, greatest(started_at, held_until));
