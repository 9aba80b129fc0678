CREATE TABLE metrics (
    job_id varchar CONSTRAINT fk_metrics_job_id REFERENCES jobs,
    step integer,
    data jsonb NOT NULL,
    CONSTRAINT pk_metrics PRIMARY KEY (job_id, step)
);

CREATE TABLE candidates (
    job_id varchar CONSTRAINT fk_candidates_job_id REFERENCES jobs,
    number integer,
    status varchar NOT NULL
        CONSTRAINT ck_candidates_status CHECK (status IN ('training', 'dropped', 'failed', 'won')),
    step integer NOT NULL,
    trained_tokens bigint NOT NULL,
    rungs jsonb NOT NULL,
    reason varchar,
    CONSTRAINT pk_candidates PRIMARY KEY (job_id, number)
);

CREATE TABLE candidate_metrics (
    job_id varchar CONSTRAINT fk_candidate_metrics_job_id REFERENCES jobs,
    number integer,
    step integer,
    data jsonb NOT NULL,
    CONSTRAINT pk_candidate_metrics PRIMARY KEY (job_id, number, step)
);

CREATE TABLE metric_extremes (
    job_id varchar CONSTRAINT fk_metric_extremes_job_id REFERENCES jobs,
    candidate integer,
    block integer,
    name varchar,
    least double precision NOT NULL,
    least_step integer NOT NULL,
    most double precision NOT NULL,
    most_step integer NOT NULL,
    CONSTRAINT pk_metric_extremes PRIMARY KEY (job_id, candidate, block, name)
);

-- Some values never fall, so a curve needs none of their extremes beside its first and last step.
CREATE FUNCTION values_of_step(step integer, data jsonb)
RETURNS TABLE (name text, value double precision) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT key, value::double precision FROM jsonb_each_text(data)
    WHERE value ~ '^[-0-9]'
        AND key NOT IN ('step', 'total_steps', 'candidate', 'trained_seconds', 'trained_tokens')
    UNION ALL SELECT 'step', step::double precision
$$;

-- Arrays are compared element by element: among equal values, the earliest step is the smallest or largest.
CREATE FUNCTION extremes_of_metrics(of_job text, of_candidate integer, of_block integer)
RETURNS SETOF metric_extremes LANGUAGE sql STABLE AS $$
    SELECT of_job, of_candidate, of_block, name, least[1], least[2]::integer, most[1], -most[2]::integer
    FROM (
        SELECT name, min(ARRAY[value, step]) AS least, max(ARRAY[value, -step]) AS most
        FROM metrics, LATERAL values_of_step(step, data)
        WHERE job_id = of_job AND -1 = of_candidate
            AND step BETWEEN 50 * of_block AND 50 * of_block + 49
        GROUP BY name
    ) AS of_values
$$;
CREATE FUNCTION keep_extremes_of_metrics() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM metric_extremes
        WHERE job_id = OLD.job_id AND candidate = -1 AND block = OLD.step / 50;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.step % 50 = 49 THEN
        INSERT INTO metric_extremes
        SELECT * FROM extremes_of_metrics(NEW.job_id, -1, NEW.step / 50)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
-- A step that does not end a block costs no call.
CREATE TRIGGER keep_extremes_inserted AFTER INSERT ON metrics
    FOR EACH ROW WHEN (NEW.step % 50 = 49) EXECUTE FUNCTION keep_extremes_of_metrics();
-- A step that is computed again after a crash changes its row.
CREATE TRIGGER keep_extremes_updated AFTER UPDATE ON metrics
    FOR EACH ROW EXECUTE FUNCTION keep_extremes_of_metrics();
-- Steps are deleted from one step on to the last, so the last step of each block is among them.
CREATE TRIGGER keep_extremes_deleted AFTER DELETE ON metrics
    FOR EACH ROW WHEN (OLD.step % 50 = 49) EXECUTE FUNCTION keep_extremes_of_metrics();

-- The same for the series of candidates.
CREATE FUNCTION extremes_of_candidate_metrics(of_job text, of_candidate integer, of_block integer)
RETURNS SETOF metric_extremes LANGUAGE sql STABLE AS $$
    SELECT of_job, of_candidate, of_block, name, least[1], least[2]::integer, most[1], -most[2]::integer
    FROM (
        SELECT name, min(ARRAY[value, step]) AS least, max(ARRAY[value, -step]) AS most
        FROM candidate_metrics, LATERAL values_of_step(step, data)
        WHERE job_id = of_job AND number = of_candidate
            AND step BETWEEN 50 * of_block AND 50 * of_block + 49
        GROUP BY name
    ) AS of_values
$$;
CREATE FUNCTION keep_extremes_of_candidate_metrics() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM metric_extremes
        WHERE job_id = OLD.job_id AND candidate = OLD.number AND block = OLD.step / 50;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.step % 50 = 49 THEN
        INSERT INTO metric_extremes
        SELECT * FROM extremes_of_candidate_metrics(NEW.job_id, NEW.number, NEW.step / 50)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_extremes_inserted AFTER INSERT ON candidate_metrics
    FOR EACH ROW WHEN (NEW.step % 50 = 49) EXECUTE FUNCTION keep_extremes_of_candidate_metrics();
CREATE TRIGGER keep_extremes_updated AFTER UPDATE ON candidate_metrics
    FOR EACH ROW EXECUTE FUNCTION keep_extremes_of_candidate_metrics();
CREATE TRIGGER keep_extremes_deleted AFTER DELETE ON candidate_metrics
    FOR EACH ROW WHEN (OLD.step % 50 = 49) EXECUTE FUNCTION keep_extremes_of_candidate_metrics();
