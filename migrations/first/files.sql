CREATE TABLE files (
    id varchar CONSTRAINT pk_files PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_files_project_id REFERENCES projects,
    filename varchar NOT NULL,
    purpose varchar NOT NULL,
    bytes bigint NOT NULL,
    sha256 varchar NOT NULL,
    object_key varchar NOT NULL,
    rows bigint,
    kind varchar CONSTRAINT ck_files_kind CHECK (kind IN ('chat', 'preference', 'labelled')),
    needs jsonb,
    longest_line bigint,
    lineage jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    deleted_at timestamptz
);
CREATE INDEX ix_files_expires_at ON files (expires_at) WHERE expires_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_files_present ON files (project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX ix_files_present_by_purpose ON files (project_id, purpose, id) WHERE deleted_at IS NULL;

CREATE TABLE token_counts (
    file_id varchar CONSTRAINT fk_token_counts_file_id REFERENCES files,
    tokenizer varchar,
    rendering varchar,
    max_length integer,
    rows bigint NOT NULL,
    tokens bigint NOT NULL,
    longest integer NOT NULL,
    squares double precision NOT NULL,
    computed_share double precision,
    CONSTRAINT pk_token_counts PRIMARY KEY (file_id, tokenizer, rendering, max_length)
);

CREATE TABLE uploads (
    id varchar CONSTRAINT pk_uploads PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_uploads_project_id REFERENCES projects,
    filename varchar NOT NULL,
    purpose varchar NOT NULL,
    bytes bigint NOT NULL,
    file_lifetime integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    status varchar NOT NULL DEFAULT 'pending'
        CONSTRAINT ck_uploads_status CHECK (status IN ('pending', 'completed', 'cancelled', 'expired')),
    ended_at timestamptz,
    file_id varchar CONSTRAINT fk_uploads_file_id REFERENCES files,
    CONSTRAINT ck_uploads_completed_with_a_file CHECK ((status = 'completed') = (file_id IS NOT NULL)),
    CONSTRAINT ck_uploads_ended_at CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX ix_uploads_file_id ON uploads (file_id);
CREATE INDEX ix_uploads_pending ON uploads (project_id) WHERE status = 'pending';

CREATE TABLE upload_parts (
    id varchar CONSTRAINT pk_upload_parts PRIMARY KEY,
    upload_id varchar NOT NULL CONSTRAINT fk_upload_parts_upload_id REFERENCES uploads,
    bytes integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_upload_parts_upload_id ON upload_parts (upload_id);

CREATE TABLE artifacts (
    id varchar CONSTRAINT pk_artifacts PRIMARY KEY,
    project_id varchar CONSTRAINT fk_artifacts_project_id REFERENCES projects,
    owner_kind varchar NOT NULL CONSTRAINT ck_artifacts_owner_kind
        CHECK (owner_kind IN ('adapter', 'answer', 'eval', 'file', 'job', 'probe', 'task', 'upload')),
    owner_id varchar NOT NULL,
    prefix varchar CONSTRAINT ck_artifacts_not_the_whole_store CHECK (prefix <> ''),
    state varchar NOT NULL CONSTRAINT ck_artifacts_state CHECK (state IN ('writing', 'kept', 'doomed')),
    bytes bigint NOT NULL DEFAULT 0,
    counted boolean NOT NULL DEFAULT true,
    rounds integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    CONSTRAINT ck_artifacts_only_what_is_kept_has_no_end CHECK ((state = 'kept') = (expires_at IS NULL)),
    CONSTRAINT ck_artifacts_of_a_project CHECK (project_id IS NOT NULL OR owner_kind = 'probe')
);
CREATE INDEX ix_artifacts_counted ON artifacts (project_id) WHERE counted AND state <> 'doomed';
CREATE INDEX ix_artifacts_expires_at ON artifacts (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX ix_artifacts_owner ON artifacts (owner_kind, owner_id);
CREATE UNIQUE INDEX uq_artifacts_in_postgres ON artifacts (owner_kind, owner_id) WHERE prefix IS NULL;
CREATE UNIQUE INDEX uq_artifacts_prefix ON artifacts (prefix);
