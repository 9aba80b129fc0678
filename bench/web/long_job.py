"""Makes a job with many past steps, and a trainer that writes more steps in the way a worker does."""

from __future__ import annotations

import math
import threading
from typing import Any

from sqlalchemy import select, text

from bench.web.api_service import Service
from core.jobs import lifecycle
from core.jobs.events import record_event
from core.jobs.lifecycle import Lease, Progress
from core.tables import Metric, Run

STEPS, TOTAL = 100_000, 900_000
STEPS_PER_FLUSH, FLUSH_SECONDS = 2, 0.5
LEASE_SECONDS = 86_400.0

VALUES = """
    jsonb_build_object('step', n, 'total_steps', CAST(:total AS int),
        'train_loss', 0.5 + 2 * exp(-n / 20000.0) + 0.2 * random(), 'train_mean_token_accuracy', random(),
        'learning_rate', 1e-4, 'grad_norm', random(), 'tokens_per_second', 900 + 100 * random(),
        'trained_seconds', 0.25 * n, 'trained_tokens', 237 * n, 'trainer_memory_bytes', 4225000000,
        'valid_loss', CASE WHEN n % 250 = 0 THEN 1 + random() END,
        'valid_mean_token_accuracy', CASE WHEN n % 250 = 0 THEN random() END,
        'full_valid_loss', CASE WHEN n % 1000 = 0 THEN 1 + random() END,
        'full_valid_mean_token_accuracy', CASE WHEN n % 1000 = 0 THEN random() END)
"""
FILL = f"""
INSERT INTO metrics (job_id, step, data)
    SELECT :job, n, {VALUES} FROM generate_series(1, :steps) n;
INSERT INTO events (id, job_id, level, type, message, data)
    SELECT 'ftevent-' || m.job_id || m.step, m.job_id, 'info', 'metrics',
        'Step ' || m.step || ': training loss', m.data FROM metrics m WHERE m.job_id = :job ORDER BY m.step
"""  # noqa: S608


def make_long(running: Service, job: str) -> None:
    with running.sessions.begin() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in FILL.split(";"):
            session.execute(text(statement), {"job": job, "steps": STEPS, "total": TOTAL})


class Trainer(threading.Thread):
    """A thread that writes steps as a worker's job lease does, until `done` is set."""

    def __init__(self, running: Service, job: str) -> None:
        super().__init__(daemon=True)
        self._sessions, self.step, self.done = running.sessions, STEPS, threading.Event()
        with self._sessions() as session:
            run = session.scalars(select(Run).where(Run.job_id == job)).one()
        assert run.token is not None
        self._lease = Lease(job, run.fence, run.token, LEASE_SECONDS)

    def run(self) -> None:
        while not self.done.wait(FLUSH_SECONDS):
            with self._sessions.begin() as session:
                tokens = 237 * self.step
                progress = Progress("training", self.step, TOTAL, self.step / 1000, 950.0, tokens)
                lifecycle.renew(session, self._lease, progress)
                for _ in range(STEPS_PER_FLUSH):
                    self._add_step(session)

    def _add_step(self, session: Any) -> None:
        """Write one step. Its values have as many digits as a worker's values."""
        self.step += 1
        loss = 0.5 + 0.1 * math.sin(self.step)
        values = {
            **{"step": self.step, "total_steps": TOTAL, "train_loss": loss},
            **{"train_mean_token_accuracy": loss / 2, "learning_rate": loss / 1e4, "grad_norm": loss / 3},
            **{"tokens_per_second": 950 + loss, "trained_seconds": 0.25 * self.step},
            **{"trained_tokens": 237 * self.step, "trainer_memory_bytes": 4_225_000_000},
            **dict.fromkeys(("valid_loss", "valid_mean_token_accuracy")),
            **dict.fromkeys(("full_valid_loss", "full_valid_mean_token_accuracy")),
        }
        session.add(Metric(job_id=self._lease.job_id, step=self.step, data=values))
        message = f"Step {self.step}/{TOTAL}: training loss={loss:.2f}"
        record_event(session, self._lease.job_id, message, type="metrics", data=values)
