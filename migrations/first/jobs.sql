CREATE TABLE jobs (
    id varchar CONSTRAINT pk_jobs PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_jobs_project_id REFERENCES projects,
    base_model varchar NOT NULL,
    devices integer NOT NULL DEFAULT 1,
    training_file_id varchar NOT NULL CONSTRAINT fk_jobs_training_file_id REFERENCES files,
    validation_file_id varchar CONSTRAINT fk_jobs_validation_file_id REFERENCES files,
    prepared_file_id varchar CONSTRAINT fk_jobs_prepared_file_id REFERENCES files,
    prepared_rows jsonb,
    suffix varchar,
    client_metadata jsonb,
    spec jsonb NOT NULL,
    is_sweep boolean NOT NULL DEFAULT false,
    integrations jsonb NOT NULL DEFAULT '[]',
    estimate jsonb,
    measured jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    status varchar NOT NULL,
    fence integer NOT NULL DEFAULT 0,
    lost_attempts integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    finished_at timestamptz,
    error jsonb,
    fine_tuned_model varchar CONSTRAINT uq_jobs_fine_tuned_model UNIQUE,
    trained_tokens bigint,
    result_file_id varchar CONSTRAINT fk_jobs_result_file_id REFERENCES files,
    tensorboard_file_id varchar CONSTRAINT fk_jobs_tensorboard_file_id REFERENCES files,
    data_check jsonb,
    deleted_at timestamptz,
    CONSTRAINT ck_jobs_status
        CHECK (status IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT ck_jobs_only_a_succeeded_job_has_a_model
        CHECK ((status = 'succeeded') = (fine_tuned_model IS NOT NULL)),
    CONSTRAINT ck_jobs_only_a_failed_job_has_an_error CHECK ((status = 'failed') = (error IS NOT NULL)),
    CONSTRAINT ck_jobs_finished_at
        CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT ck_jobs_only_an_ended_job_is_deleted CHECK (deleted_at IS NULL OR finished_at IS NOT NULL)
);
CREATE INDEX ix_jobs_client_metadata ON jobs USING gin (client_metadata jsonb_path_ops);
CREATE INDEX ix_jobs_measured ON jobs (base_model, id) WHERE status = 'succeeded' AND measured IS NOT NULL;
CREATE INDEX ix_jobs_model_id ON jobs (right(id, 12));
CREATE INDEX ix_jobs_parent_adapter ON jobs (project_id, (((spec -> 'lineage') -> 0) ->> 'adapter_id'), id)
    WHERE (((spec -> 'lineage') -> 0) ->> 'adapter_id') IS NOT NULL;
CREATE INDEX ix_jobs_prepared_file_id ON jobs (prepared_file_id) WHERE prepared_file_id IS NOT NULL;
CREATE INDEX ix_jobs_project_id_id ON jobs (project_id, id);
CREATE INDEX ix_jobs_project_id_status_id ON jobs (project_id, status, id);
CREATE INDEX ix_jobs_queue ON jobs (devices, id) WHERE status = 'queued';
CREATE INDEX ix_jobs_queue_by_project ON jobs (devices, project_id, id) WHERE status = 'queued';
CREATE INDEX ix_jobs_queued ON jobs (project_id) WHERE status = 'queued';
CREATE INDEX ix_jobs_running ON jobs (project_id) WHERE status = 'running';
CREATE INDEX ix_jobs_sweeps ON jobs (project_id, id) WHERE is_sweep;
CREATE INDEX ix_jobs_training_file_id ON jobs (training_file_id);
CREATE INDEX ix_jobs_validation_file_id ON jobs (validation_file_id);

-- The transitions of core/jobs/lifecycle once more: no code and no person at a prompt gets around them.
CREATE FUNCTION refuse_illegal_job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (
        (OLD.status = 'queued' AND NEW.status IN ('running', 'paused', 'failed', 'cancelled'))
        OR (OLD.status = 'running'
            AND NEW.status IN ('queued', 'paused', 'succeeded', 'failed', 'cancelled'))
        OR (OLD.status = 'paused' AND NEW.status IN ('queued', 'cancelled'))
    ) THEN
        RAISE EXCEPTION 'job %: no way leads from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_illegal_job_transition BEFORE UPDATE OF status ON jobs
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION refuse_illegal_job_transition();

CREATE FUNCTION refuse_falling_fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job %: the fence may only rise', OLD.id USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER refuse_falling_fence BEFORE UPDATE OF fence ON jobs
    FOR EACH ROW WHEN (NEW.fence < OLD.fence) EXECUTE FUNCTION refuse_falling_fence();

CREATE TABLE job_names (
    job_id varchar CONSTRAINT pk_job_names PRIMARY KEY CONSTRAINT fk_job_names_job_id REFERENCES jobs,
    project_id varchar NOT NULL,
    names varchar NOT NULL
);

-- The project, and each trigram of the words. One expression cuts them from the first letter on, one from the
-- second, one from the third. That is six times as quick as to cut them one by one.
CREATE FUNCTION job_search_terms(project_id text, words text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT
        trim_array(string_to_array(regexp_replace(words, '(...)', E'\\1\n', 'g') || E'\n', E'\n'), 2)
        || trim_array(string_to_array(regexp_replace(substr(words, 2), '(...)', E'\\1\n', 'g') || E'\n', E'\n'), 2)
        || trim_array(string_to_array(regexp_replace(substr(words, 3), '(...)', E'\\1\n', 'g') || E'\n', E'\n'), 2)
        || project_id
$$;
CREATE INDEX ix_job_names_terms ON job_names USING gin (job_search_terms(project_id, names));

-- A deleted file keeps its name, so the names of its job stay true.
CREATE FUNCTION names_of_job(job jobs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT lower(concat_ws(' ',
        job.id, job.suffix, job.base_model, job.fine_tuned_model, job.client_metadata,
        job.spec->'adapter'->>'type', job.spec->'objective'->>'type',
        training.id, training.filename, validation.id, validation.filename
    ))
    FROM files AS training LEFT JOIN files AS validation ON validation.id = job.validation_file_id
    WHERE training.id = job.training_file_id
$$;
CREATE FUNCTION keep_names_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_names (job_id, project_id, names) VALUES (NEW.id, NEW.project_id, names_of_job(NEW))
    ON CONFLICT (job_id) DO UPDATE SET names = excluded.names;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_names_of_job AFTER INSERT OR UPDATE OF suffix, client_metadata, fine_tuned_model ON jobs
    FOR EACH ROW EXECUTE FUNCTION keep_names_of_job();

CREATE TABLE runs (
    job_id varchar CONSTRAINT fk_runs_job_id REFERENCES jobs,
    fence integer,
    owner varchar NOT NULL,
    token varchar NOT NULL,
    alone boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    pause_requested_at timestamptz,
    ended_at timestamptz,
    outcome varchar,
    counted boolean NOT NULL DEFAULT false,
    phase varchar NOT NULL DEFAULT 'claimed',
    step integer NOT NULL DEFAULT 0,
    total_steps integer,
    epoch double precision NOT NULL DEFAULT '0',
    tokens_per_second double precision,
    trained_tokens bigint NOT NULL DEFAULT '0',
    seconds_left double precision,
    best_valid_loss double precision,
    best_step integer,
    CONSTRAINT pk_runs PRIMARY KEY (job_id, fence),
    CONSTRAINT ck_runs_outcome
        CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'paused', 'lost', 'released')),
    CONSTRAINT ck_runs_an_ended_run_has_an_outcome CHECK ((outcome IS NULL) = (ended_at IS NULL))
);
CREATE INDEX ix_runs_open_expires_at ON runs (expires_at) WHERE ended_at IS NULL;
CREATE INDEX ix_runs_owner ON runs (owner);
CREATE INDEX ix_runs_to_count ON runs (job_id) WHERE ended_at IS NOT NULL AND NOT counted;
CREATE UNIQUE INDEX uq_runs_open ON runs (job_id) WHERE ended_at IS NULL;

CREATE TABLE events (
    sequence bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_events PRIMARY KEY,
    id varchar NOT NULL CONSTRAINT uq_events_id UNIQUE,
    job_id varchar NOT NULL CONSTRAINT fk_events_job_id REFERENCES jobs,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    level varchar NOT NULL,
    type varchar NOT NULL,
    message varchar NOT NULL,
    data jsonb
);
CREATE INDEX ix_events_job_id_sequence ON events (job_id, sequence);
CREATE INDEX ix_events_job_id_type_sequence ON events (job_id, type, sequence);

CREATE TABLE checkpoints (
    id varchar CONSTRAINT pk_checkpoints PRIMARY KEY,
    job_id varchar NOT NULL CONSTRAINT fk_checkpoints_job_id REFERENCES jobs,
    fence integer NOT NULL,
    step integer NOT NULL,
    ends_epoch boolean NOT NULL,
    best boolean NOT NULL DEFAULT false,
    metrics jsonb NOT NULL,
    object_prefix varchar NOT NULL,
    files jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT fk_checkpoints_job_id_fence FOREIGN KEY (job_id, fence) REFERENCES runs (job_id, fence),
    CONSTRAINT uq_checkpoints_job_id_step UNIQUE (job_id, step)
);
CREATE INDEX ix_checkpoints_for_resume ON checkpoints (job_id) WHERE NOT ends_epoch AND NOT best;
CREATE UNIQUE INDEX uq_checkpoints_best ON checkpoints (job_id) WHERE best;

CREATE TABLE adapters (
    id varchar CONSTRAINT pk_adapters PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_adapters_project_id REFERENCES projects,
    job_id varchar CONSTRAINT uq_adapters_job_id UNIQUE CONSTRAINT fk_adapters_job_id REFERENCES jobs,
    model varchar CONSTRAINT uq_adapters_model UNIQUE,
    base_model varchar,
    options jsonb,
    origin jsonb,
    object_prefix varchar NOT NULL,
    files jsonb NOT NULL,
    training jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT ck_adapters_either_trained_or_of_another_origin
        CHECK ((job_id IS NULL) = (origin IS NOT NULL) AND (job_id IS NULL) = (model IS NOT NULL) AND (job_id
        IS NULL) = (base_model IS NOT NULL) AND (job_id IS NULL) = (options IS NOT NULL)),
    CONSTRAINT ck_adapters_origin_type
        CHECK (origin IS NULL OR (origin ->> 'type' IN ('import', 'composition')))
);
CREATE INDEX ix_adapters_project_id_id ON adapters (project_id, id);
CREATE INDEX ix_adapters_without_a_job ON adapters (project_id, id) WHERE job_id IS NULL;

CREATE TABLE checkpoint_permissions (
    id varchar CONSTRAINT pk_checkpoint_permissions PRIMARY KEY,
    job_id varchar NOT NULL CONSTRAINT fk_checkpoint_permissions_job_id REFERENCES jobs,
    step integer,
    model varchar NOT NULL,
    project_id varchar NOT NULL CONSTRAINT fk_checkpoint_permissions_project_id REFERENCES projects,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_checkpoint_permissions_model_project_id UNIQUE (model, project_id)
);
CREATE INDEX ix_checkpoint_permissions_model_id ON checkpoint_permissions (model, id);
CREATE INDEX ix_checkpoint_permissions_project_id ON checkpoint_permissions (project_id);

CREATE TABLE row_losses (
    job_id varchar CONSTRAINT fk_row_losses_job_id REFERENCES jobs,
    part varchar CONSTRAINT ck_row_losses_part CHECK (part IN ('training', 'validation')),
    line integer,
    tokens integer NOT NULL,
    before double precision,
    after double precision,
    suspicion double precision,
    CONSTRAINT pk_row_losses PRIMARY KEY (job_id, part, line)
);
