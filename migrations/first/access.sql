CREATE TABLE projects (
    id varchar CONSTRAINT pk_projects PRIMARY KEY,
    name varchar NOT NULL CONSTRAINT uq_projects_name UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    max_queued_jobs integer,
    max_running_jobs integer,
    max_stored_bytes bigint,
    max_requests_per_minute integer,
    max_concurrent_chats integer,
    max_tokens_per_minute integer,
    max_completion_bytes bigint,
    max_completion_days integer
);

CREATE TABLE api_keys (
    id varchar CONSTRAINT pk_api_keys PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_api_keys_project_id REFERENCES projects,
    name varchar NOT NULL,
    role varchar NOT NULL DEFAULT 'member'
        CONSTRAINT ck_api_keys_role CHECK (role IN ('read-only', 'member', 'admin')),
    sha256 varchar NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX ix_api_keys_project_id ON api_keys (project_id);

CREATE TABLE sign_ins (
    sha256 varchar CONSTRAINT pk_sign_ins PRIMARY KEY,
    kind varchar NOT NULL CONSTRAINT ck_sign_ins_kind CHECK (kind IN ('link', 'session')),
    key_id varchar NOT NULL CONSTRAINT fk_sign_ins_key_id REFERENCES api_keys,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX ix_sign_ins_expires_at ON sign_ins (expires_at);

CREATE TABLE secrets (
    project_id varchar CONSTRAINT fk_secrets_project_id REFERENCES projects,
    name varchar,
    sealed varchar NOT NULL,
    hosts text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_secrets PRIMARY KEY (project_id, name)
);

CREATE TABLE audit_logs (
    id varchar CONSTRAINT pk_audit_logs PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_audit_logs_project_id REFERENCES projects,
    key_id varchar CONSTRAINT fk_audit_logs_key_id REFERENCES api_keys,
    action varchar NOT NULL,
    resource_id varchar NOT NULL,
    details jsonb,
    request_id varchar,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_audit_logs_project_id_id ON audit_logs (project_id, id);

-- Only the operator's retention deletes rows, and it says so in its transaction.
CREATE FUNCTION refuse_change_of_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('tunery.audit_retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER refuse_change_of_audit_log BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_log();

CREATE TABLE idempotency_records (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_idempotency_records PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_idempotency_records_project_id REFERENCES projects,
    idempotency_key varchar,
    fingerprint varchar NOT NULL,
    retry_count integer NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_idempotency_records_project_id_idempotency_key UNIQUE (project_id, idempotency_key)
);
CREATE INDEX ix_idempotency_records_created_at ON idempotency_records (created_at);
CREATE INDEX ix_idempotency_records_fingerprint ON idempotency_records (fingerprint);

CREATE TABLE usage_days (
    project_id varchar CONSTRAINT fk_usage_days_project_id REFERENCES projects,
    day date,
    trained_tokens bigint NOT NULL,
    device_seconds numeric NOT NULL,
    CONSTRAINT pk_usage_days PRIMARY KEY (project_id, day)
);

CREATE TABLE webhook_endpoints (
    id varchar CONSTRAINT pk_webhook_endpoints PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_webhook_endpoints_project_id REFERENCES projects,
    name varchar NOT NULL,
    url varchar NOT NULL,
    event_types text[] NOT NULL,
    sealed_secret varchar NOT NULL,
    secret_hint varchar NOT NULL,
    former_sealed_secret varchar,
    former_expires_at timestamptz,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_webhook_endpoints_project_id_id ON webhook_endpoints (project_id, id);

CREATE TABLE webhook_deliveries (
    id varchar CONSTRAINT pk_webhook_deliveries PRIMARY KEY,
    endpoint_id varchar NOT NULL
        CONSTRAINT fk_webhook_deliveries_endpoint_id REFERENCES webhook_endpoints ON DELETE CASCADE,
    event_type varchar NOT NULL,
    payload jsonb NOT NULL,
    status varchar NOT NULL DEFAULT 'pending'
        CONSTRAINT ck_webhook_deliveries_status CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz DEFAULT now(),
    last_attempt_at timestamptz,
    response_code integer,
    error varchar,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_webhook_deliveries_only_a_pending_one_is_attempted
        CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL))
);
CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (next_attempt_at)
    WHERE next_attempt_at IS NOT NULL;
CREATE INDEX ix_webhook_deliveries_ended ON webhook_deliveries (coalesce(last_attempt_at, created_at))
    WHERE next_attempt_at IS NULL;
CREATE INDEX ix_webhook_deliveries_endpoint_id_id ON webhook_deliveries (endpoint_id, id);
