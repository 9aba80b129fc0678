"""Requests that write or compute, each with other content, so that none is the repetition of another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.scale.requests import JOBS, LARGE
from bench.web import http_load
from core.catalog import SMOLLM2
from core.tables import Job, Upload

MANY = 10_000
GRADER = {
    "type": "text_similarity",
    "name": "overlap",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "rouge_l",
}


def posts(session: Session, key: str) -> dict[str, Iterator[bytes]]:
    """Return requests by what they ask for."""
    file = session.scalars(select(Job.training_file_id).where(Job.project_id == LARGE).limit(1)).one()
    pending = session.scalars(
        select(Upload.id).where(Upload.project_id == LARGE, Upload.status == "pending").limit(MANY)
    ).all()

    def post(path: str, body: dict[str, Any]) -> bytes:
        return http_load.post(path, key, json.dumps(body).encode())

    return {
        "job: creation": (
            post(JOBS, {"model": SMOLLM2.id, "training_file": file, "seed": seed}) for seed in range(MANY)
        ),
        "upload: creation": (
            post(
                "/v1/uploads",
                {"filename": f"{at}.jsonl", "bytes": 100, "purpose": "fine-tune", "mime_type": "text/jsonl"},
            )
            for at in range(MANY)
        ),
        "upload: cancellation": (post(f"/v1/uploads/{upload}/cancel", {}) for upload in pending),
        "grader: a run": (
            post(
                "/v1/fine_tuning/alpha/graders/run",
                {"grader": GRADER, "model_sample": f"an answer, {at}", "item": {"answer": "the answer"}},
            )
            for at in range(MANY)
        ),
    }
