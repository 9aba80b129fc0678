CREATE TABLE workers (
    owner varchar CONSTRAINT pk_workers PRIMARY KEY,
    host varchar NOT NULL,
    release varchar NOT NULL,
    devices integer NOT NULL,
    device_type varchar NOT NULL,
    device_name varchar NOT NULL,
    number_bytes integer,
    lanes integer,
    memory_bytes bigint NOT NULL,
    memory_used_bytes bigint NOT NULL,
    base_model varchar,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE TABLE servers (
    id varchar CONSTRAINT pk_servers PRIMARY KEY,
    address varchar NOT NULL,
    host varchar NOT NULL,
    release varchar NOT NULL,
    bases varchar[] NOT NULL,
    resident varchar,
    adapters varchar[] NOT NULL,
    running integer NOT NULL,
    waiting integer NOT NULL,
    capacity integer NOT NULL,
    draining boolean NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE TABLE chat_templates (
    base_model varchar CONSTRAINT pk_chat_templates PRIMARY KEY,
    places jsonb NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
