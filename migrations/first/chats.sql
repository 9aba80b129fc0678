CREATE TABLE aliases (
    project_id varchar CONSTRAINT fk_aliases_project_id REFERENCES projects,
    name varchar,
    weights jsonb NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_aliases PRIMARY KEY (project_id, name)
);

CREATE TABLE alias_moves (
    project_id varchar,
    alias varchar,
    version integer,
    weights jsonb NOT NULL,
    restored integer,
    key_id varchar CONSTRAINT fk_alias_moves_key_id REFERENCES api_keys,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_alias_moves PRIMARY KEY (project_id, alias, version),
    CONSTRAINT fk_alias_moves_project_id_alias
        FOREIGN KEY (project_id, alias) REFERENCES aliases (project_id, name) ON DELETE CASCADE
);

CREATE TABLE chat_usage (
    project_id varchar CONSTRAINT fk_chat_usage_project_id REFERENCES projects,
    day date,
    model varchar,
    requests bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    CONSTRAINT pk_chat_usage PRIMARY KEY (project_id, day, model)
);

CREATE TABLE stored_completions (
    id varchar CONSTRAINT pk_stored_completions PRIMARY KEY,
    project_id varchar NOT NULL CONSTRAINT fk_stored_completions_project_id REFERENCES projects,
    model varchar NOT NULL,
    request json NOT NULL,
    answer json NOT NULL,
    prompt_sha256 varchar NOT NULL,
    client_metadata jsonb NOT NULL,
    request_id varchar,
    rating varchar CONSTRAINT ck_stored_completions_rating CHECK (rating IN ('up', 'down')),
    corrected_answer varchar,
    rated_at timestamptz,
    bytes integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_stored_completions_client_metadata ON stored_completions
    USING gin (client_metadata jsonb_path_ops);
CREATE INDEX ix_stored_completions_liked ON stored_completions (project_id, prompt_sha256, id)
    WHERE rating = 'up';
CREATE INDEX ix_stored_completions_project_id_id ON stored_completions (project_id, id);
CREATE INDEX ix_stored_completions_project_id_model_id ON stored_completions (project_id, model, id);
CREATE INDEX ix_stored_completions_rated ON stored_completions (project_id, id) WHERE rated_at IS NOT NULL;

CREATE TABLE completion_bytes (
    project_id varchar
        CONSTRAINT pk_completion_bytes PRIMARY KEY CONSTRAINT fk_completion_bytes_project_id REFERENCES
        projects,
    bytes bigint NOT NULL CONSTRAINT ck_completion_bytes_bytes CHECK (bytes >= 0)
);
