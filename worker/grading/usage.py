"""Counts the tokens that a run uses: for its report by row, and for the project by model and day."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from core.access import chat_usage
from core.access.chat_usage import ModelUsage as DailyUsage
from core.access.chat_usage import Tokens
from core.evals.results import ModelUsage

COUNTS = ("invocation_count", "prompt_tokens", "completion_tokens", "cached_tokens", "total_tokens")


class UsageSums:
    """The sums of what was used of each model, by its name."""

    def __init__(self) -> None:
        self._sums: dict[str, ModelUsage] = {}

    def add_answer(self, model: str, usage: Mapping[str, Any]) -> None:
        """Add an answer's `usage`, in OpenAI's form."""
        details = usage.get("prompt_tokens_details") or {}
        prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        cached = details.get("cached_tokens") or 0
        self.add(
            ModelUsage(
                model_name=model,
                invocation_count=1,
                prompt_tokens=prompt,
                completion_tokens=completion,
                cached_tokens=cached,
                total_tokens=prompt + completion,
            )
        )

    def add(self, used: ModelUsage) -> None:
        before = self._sums.get(used.model_name, ModelUsage(model_name=used.model_name))
        sums = {name: getattr(before, name) + getattr(used, name) for name in COUNTS}
        self._sums[used.model_name] = ModelUsage(model_name=used.model_name, **sums)

    @property
    def by_model(self) -> list[ModelUsage]:
        return list(self._sums.values())


def count_for_project(sessions: sessionmaker[Session], project_id: str, used: Iterable[ModelUsage]) -> None:
    """Add to what the project has used today, as chats do."""
    day = chat_usage.today()
    daily = [
        DailyUsage(
            day,
            project_id,
            each.model_name,
            Tokens(each.invocation_count, each.prompt_tokens, each.cached_tokens, each.completion_tokens),
        )
        for each in used
    ]
    if daily:
        with sessions.begin() as session:
            chat_usage.record(session, daily)
