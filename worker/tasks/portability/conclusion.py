"""Turns what was measured into the report on one runtime, in place of what the rule says of it."""

from collections.abc import Sequence

from core.portability.report import Attempt, RuntimeReport
from core.portability.start_lines import start_line
from core.portability.traits import Traits
from worker.tasks.export.source import Source


def concluded(
    rule: RuntimeReport, traits: Traits, source: Source, version: str | None, attempts: Sequence[Attempt]
) -> RuntimeReport:
    """Return the report: on the first form that answers alike, else on the first one that loads.

    `version` is None if no form could be made, so that the runtime was asked nothing. It is empty if the
    runtime ended before it told its version.
    """
    loaded = [each for each in attempts if each.loads]
    best = next((each for each in loaded if each.reason is None), loaded[0] if loaded else None)
    if best is None:
        status = "unsupported" if version is None else "fails"
        reason = attempts[-1].reason if attempts else rule.reason
        return _with(
            rule, version, attempts, status=status, reason=reason, needs=None, start_line=None, figures=None
        )
    line = rule.start_line
    if best.form != rule.needs:
        repository, revision = source.entry.repository, source.entry.revision
        line = start_line(
            rule.runtime, best.form, repository, revision, traits.rank, whole_model=traits.is_whole_model
        )
    return _with(
        rule,
        version,
        attempts,
        status="works" if best.reason is None else "differs",
        reason=_said(rule, best),
        needs=best.form,
        start_line=line,
        figures=best.figures,
    )


def _with(
    rule: RuntimeReport, version: str | None, attempts: Sequence[Attempt], **found: object
) -> RuntimeReport:
    """Return the rule's report with what was found."""
    measured = {"measured": version is not None, "version": version or None, "attempts": list(attempts)}
    return RuntimeReport.model_validate({**rule.model_dump(), **measured, **found})


def _said(rule: RuntimeReport, best: Attempt) -> str:
    """Return what was found, and why an export is needed."""
    figures = best.figures
    assert figures is not None
    said = best.reason or f"{figures.greedy_equal} of {figures.prompts} greedy answers are equal."
    if best.reason is None and figures.greedy_equal < figures.prompts:
        said += " The others part where two tokens are nearly as likely."
    return said if best.form != rule.needs else f"{said} {rule.reason}"
