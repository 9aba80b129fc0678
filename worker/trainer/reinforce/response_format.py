"""The form that a job's answers must have, as the sampler takes it."""

import json

from core.objectives.sampling import SamplingOptions
from worker.engine.sampler.requests import Grammar


def grammar_of(objective: SamplingOptions) -> Grammar | None:
    """Return the grammar of every answer, or None if any text will do."""
    wanted = objective.response_format or {}
    match wanted.get("type"):
        case "json_schema":
            return Grammar("json_schema", json.dumps(wanted["json_schema"].get("schema") or {}))
        case "json_object":
            return Grammar("json_object")
    return None
