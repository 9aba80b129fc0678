"""What projects used, day by day in UTC, in pages of days as in OpenAI's usage API."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, TypeVar

from sqlalchemy.orm import Session

from api.organization.schemas import (
    CompletionsUsageBucket,
    CompletionsUsagePage,
    CompletionsUsageResult,
    UsageBucket,
    UsagePage,
    UsageResult,
)
from api.schemas import unix_seconds
from core.access.chat_usage import chat_usage
from core.access.usage import usage
from core.database import database_time
from core.errors import InvalidRequest

DAY = timedelta(days=1)
DEFAULT_DAYS = 30
MAX_DAYS = 366
PAGE_DAYS = 31
CURSOR = re.compile(r"page_(\d{4}-\d{2}-\d{2})", re.ASCII)

Result = TypeVar("Result")


class Span(NamedTuple):
    """The days that a client asks for.

    `start_time` and `end_time` are Unix seconds; without them it is the last 30 days. `page` is the
    `next_page` of the page before, or None for the first one.
    """

    start_time: int | None
    end_time: int | None
    limit: int
    page: str | None


class DaysOfPage(NamedTuple):
    """The days of a page, at least one, and the cursor of the next page, if there is one."""

    days: list[date]
    next_page: str | None

    @property
    def cursor(self) -> dict[str, str | bool | None]:
        """The fields of a page that say whether another one follows."""
        return {"has_more": self.next_page is not None, "next_page": self.next_page}


def fine_tuning_page(session: Session, project_id: str | None, span: Span) -> UsagePage:
    """Return what the jobs of a project used, or those of all projects. Raises InvalidRequest."""
    asked = _days(session, span)
    used = usage(session, project_id, asked.days[0], asked.days[-1])
    results = _by_day(
        (day, UsageResult(project_id=project, trained_tokens=tokens, device_seconds=seconds))
        for day, project, tokens, seconds in used
    )
    data = [UsageBucket(**_bounds(day), results=results.get(day, [])) for day in asked.days]
    return UsagePage(data=data, **asked.cursor)


def completions_page(session: Session, project_id: str | None, span: Span) -> CompletionsUsagePage:
    """Return what the chats and completions of a project used, or those of all. Raises InvalidRequest."""
    asked = _days(session, span)
    used = chat_usage(session, project_id, asked.days[0], asked.days[-1])
    results = _by_day(
        (
            row.day,
            CompletionsUsageResult(
                project_id=row.project_id,
                model=row.model,
                num_model_requests=row.tokens.requests,
                input_tokens=row.tokens.prompt_tokens,
                input_cached_tokens=row.tokens.cached_tokens,
                output_tokens=row.tokens.completion_tokens,
            ),
        )
        for row in used
    )
    data = [CompletionsUsageBucket(**_bounds(day), results=results.get(day, [])) for day in asked.days]
    return CompletionsUsagePage(data=data, **asked.cursor)


def _by_day(results: Iterable[tuple[date, Result]]) -> dict[date, list[Result]]:
    found: dict[date, list[Result]] = {}
    for day, result in results:
        found.setdefault(day, []).append(result)
    return found


def _days(session: Session, span: Span) -> DaysOfPage:
    """Return the days, in UTC, of the page that the client asks for. Raises InvalidRequest."""
    end = datetime.fromtimestamp(span.end_time, UTC) if span.end_time is not None else database_time(session)
    start = end - DEFAULT_DAYS * DAY
    if span.start_time is not None:
        start = datetime.fromtimestamp(span.start_time, UTC)
    first, last = start.date(), (end - timedelta(microseconds=1)).date()
    if start >= end or last - first >= MAX_DAYS * DAY:
        raise InvalidRequest(
            f"'start_time' must be before 'end_time', by {MAX_DAYS} days at most.",
            code="invalid_value",
            param="start_time",
        )
    if span.page is not None:
        first = _first_day(span.page, first, last)
    rest = (last - first).days + 1
    days = [first + number * DAY for number in range(min(rest, span.limit))]
    return DaysOfPage(days, f"page_{days[-1] + DAY}" if rest > span.limit else None)


def _first_day(page: str, first: date, last: date) -> date:
    """Return the day at which the page begins. Raises InvalidRequest if the span has no such page."""
    found = CURSOR.fullmatch(page)
    try:
        day = date.fromisoformat(found[1]) if found else None
    except ValueError:
        day = None
    if day is None or not first <= day <= last:
        raise InvalidRequest(
            "'page' must be the 'next_page' of an answer to the same 'start_time' and 'end_time'.",
            code="invalid_value",
            param="page",
        )
    return day


def _bounds(day: date) -> dict[str, int]:
    return {"start_time": _midnight(day), "end_time": _midnight(day + DAY)}


def _midnight(day: date) -> int:
    """Return the Unix seconds at which the day begins in UTC."""
    return unix_seconds(datetime.combine(day, time(), UTC))
