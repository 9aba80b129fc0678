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
    deleted_at timestamptz,
    cleaned_at timestamptz
);
CREATE INDEX ix_files_expires_at ON files (expires_at) WHERE expires_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX ix_files_present ON files (project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX ix_files_present_by_purpose ON files (project_id, purpose, id) WHERE deleted_at IS NULL;
CREATE INDEX ix_files_to_clean ON files (id) WHERE deleted_at IS NOT NULL AND cleaned_at IS NULL;

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
    cleaned_at timestamptz,
    CONSTRAINT ck_uploads_completed_with_a_file CHECK ((status = 'completed') = (file_id IS NOT NULL)),
    CONSTRAINT ck_uploads_ended_at CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX ix_uploads_file_id ON uploads (file_id);
CREATE INDEX ix_uploads_pending ON uploads (project_id) WHERE status = 'pending';
CREATE INDEX ix_uploads_to_clean ON uploads (id) WHERE cleaned_at IS NULL;

CREATE TABLE upload_parts (
    id varchar CONSTRAINT pk_upload_parts PRIMARY KEY,
    upload_id varchar NOT NULL CONSTRAINT fk_upload_parts_upload_id REFERENCES uploads,
    bytes integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_upload_parts_upload_id ON upload_parts (upload_id);

CREATE TABLE store_walks (
    prefix varchar CONSTRAINT pk_store_walks PRIMARY KEY,
    after varchar NOT NULL DEFAULT '',
    next_page_at timestamptz NOT NULL DEFAULT now()
);
