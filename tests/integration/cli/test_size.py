"""`tunery size` counts the rows of Postgres as large as they are."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from cli.sizing.figures import STEP_BYTES
from core.database import create_database, session_factory
from tests.fixtures.service.jobs import Jobs

STEPS = 20_000
# As wide as what a worker reports of a step: its values, and an event that has them too
VALUES = """
    jsonb_build_object('step', n, 'total_steps', 20000, 'train_loss', 0.5 + random(),
        'train_mean_token_accuracy', random(), 'learning_rate', 1e-4 * random(), 'grad_norm', random(),
        'tokens_per_second', 900 + 100 * random(), 'trained_seconds', round(0.251 * n, 3),
        'trained_tokens', 237 * n, 'trainer_memory_bytes', 4225000000 + n)
"""
METRICS = (
    f"INSERT INTO metrics (job_id, step, data) SELECT :job, n, {VALUES} FROM generate_series(1, :steps) n"
)
EVENTS = f"""
    INSERT INTO events (id, job_id, level, type, message, data)
    SELECT 'ftevent-' || substr(:job, 7, 20) || lpad(to_hex(n), 12, '0'), :job, 'info', 'metrics',
        'Step ' || n || '/20000: training loss=' || round(random()::numeric, 2), {VALUES}
    FROM generate_series(1, :steps) n
"""
BYTES = "SELECT pg_total_relation_size('metrics') + pg_total_relation_size('events')"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_database(database_url)
    yield engine
    engine.dispose()


def test_a_step_takes_as_many_bytes_of_postgres_as_the_calculator_says(engine: Engine) -> None:
    job = Jobs(session_factory(engine)).submit()
    with engine.begin() as connection:
        before = connection.scalar(text(BYTES))
        for statement in (METRICS, EVENTS):
            connection.execute(text(statement), {"job": job, "steps": STEPS})
        measured = (connection.scalar(text(BYTES)) - before) / STEPS
    assert abs(measured - STEP_BYTES) < 0.1 * STEP_BYTES, f"{measured:.0f} bytes a step"
