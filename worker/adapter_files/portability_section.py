"""The section of a model card that says where the adapter loads: by rules at first, then as it was measured.

It is the last section of each card, so a measurement can take its place.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from core.portability.report import FORM_NAMES, Attempt, Figures, Measurement, RuntimeReport

HEADING = "\n## Where it loads\n"
TABLE = """
| runtime | what it loads | known by | why |
| --- | --- | --- | --- |
"""
RULES = """
Rules follow from the method and from each runtime's documentation. A measurement, which takes their place
here, is made by `tunery adapters portability ID --measure`. `GET /v1/adapters/{id}/portability` of the
service has the newest report. The sources of the rules:

"""
MEASURED = """
Measured on {day}. Each runtime was asked {count} prompts: {rows} of the validation file, and
{general} of a general list. Its greedy answers, of at most {new_tokens} tokens, and its log-probabilities
are compared with those of Tunery's own sampler in fp32. Differences are in nats.

| runtime | form | equal answers | top log-probabilities | first difference | template's tokens |
| --- | --- | --- | --- | --- | --- |
"""


def section_by_rule(reports: Sequence[RuntimeReport]) -> str:
    """Return the section of an adapter that nobody has measured yet."""
    return HEADING + _table(reports) + RULES + _sources(reports)


def with_measurement(card: str, found: Measurement, at: datetime) -> str:
    """Return the card with what was measured until `at`, a time in UTC, in place of its last section."""
    before, heading, _ = card.rpartition(HEADING)
    asked = found.prompts
    measured = MEASURED.format(
        day=f"{at:%Y-%m-%d at %H:%M} UTC",
        count=asked.count,
        rows=asked.from_validation_file,
        general=asked.from_general_list,
        new_tokens=asked.new_tokens,
    )
    rows = "".join(row for report in found.runtimes for row in _measured_rows(report))
    by_rule = [each for each in found.runtimes if not each.measured]
    new = HEADING + _table(found.runtimes) + measured + rows + RULES + _sources(by_rule)
    return (before if heading else card) + new


def _table(reports: Sequence[RuntimeReport]) -> str:
    rows = (
        _row(_name(each), FORM_NAMES[each.needs] if each.needs else "nothing", _known_by(each), each.reason)
        for each in reports
    )
    return TABLE + "".join(rows)


def _sources(by_rule: Sequence[RuntimeReport]) -> str:
    return "".join(f"- {each.name}: {', '.join(f'<{url}>' for url in each.sources)}\n" for each in by_rule)


def _known_by(report: RuntimeReport) -> str:
    if report.measured:
        return f"measured: {report.status}"
    if report.status == "not_measured":
        return "a rule; not measured here"
    return "an attempt" if report.attempts else "a rule"


def _measured_rows(report: RuntimeReport) -> Iterator[str]:
    """Yield a row for each form that the runtime was given."""
    for attempt in report.attempts:
        yield _row(_name(report), FORM_NAMES[attempt.form], *_cells(attempt))


def _cells(attempt: Attempt) -> Sequence[str]:
    figures = attempt.figures
    if figures is None:
        return f"no answers: {attempt.reason}", "", "", ""
    return (
        f"{figures.greedy_equal} of {figures.prompts}",
        _nats(figures.max_logprob_difference),
        _first_difference(figures),
        {True: "equal", False: "other", None: "no chat template"}[figures.template_tokens_equal],
    )


def _first_difference(figures: Figures) -> str:
    return "none" if figures.greedy_equal == figures.prompts else _nats(figures.first_difference)


def _nats(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"


def _name(report: RuntimeReport) -> str:
    return f"{report.name} {report.version}" if report.version else report.name


def _row(*cells: str) -> str:
    """Return a row of a table. What runtimes say may have lines and bars, which would end a cell."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"
