"""The criteria that compare a text with its reference: exact match, and F1 by label or field."""

import json
from typing import Any

from core.evals.criteria import ExactMatch, FieldF1, LabelF1
from core.evals.results import RowResult
from core.graders.sample import NoJson, Sample
from core.graders.schemas import MAX_TEXT
from core.strict_json import storable
from worker.grading.messages import text_of
from worker.grading.row_failed import RowFailed

MAX_LABEL = 256  # characters of a label or of a field's name
TextCriterion = ExactMatch | LabelF1 | FieldF1


def judge_text(criterion: TextCriterion, item: dict[str, Any], sample: Sample) -> RowResult:
    """Return the result of a row. Raises RowFailed if its templates or its reference are unusable."""
    reference = _text(criterion.reference, item, sample)
    if reference is None:
        raise RowFailed("sample_parse_error", "The reference names the sample's JSON, but it is none.")
    text = _text(criterion.input, item, sample)
    if isinstance(criterion, FieldF1):
        return _by_field(criterion, text, reference)
    text, reference = (text or "").strip(), reference.strip()
    if isinstance(criterion, LabelF1) and len(reference) > MAX_LABEL:
        raise RowFailed("label_too_long", f"The row's label has more than {MAX_LABEL} characters.")
    is_equal = text == reference
    counts = {"label": storable(reference), "predicted": storable(text)}
    return RowResult(
        name=criterion.name,
        type=criterion.type,
        score=float(is_equal),
        passed=is_equal,
        counts=counts if isinstance(criterion, LabelF1) else None,
    )


def _text(template: str, item: dict[str, Any], sample: Sample) -> str | None:
    """Return a template's text, or None if it needs the JSON of a sample that is none."""
    try:
        return text_of(template, item, sample, MAX_TEXT)
    except NoJson:
        return None


def _by_field(criterion: FieldF1, text: str | None, reference: str) -> RowResult:
    wanted = _object(reference)
    if wanted is None:
        raise RowFailed("reference_no_object", "The reference is not a JSON object, so it has no fields.")
    found = _object(text or "") or {}
    fields = wanted if criterion.fields is None else criterion.fields
    if any(len(field) > MAX_LABEL for field in fields):
        reason = f"A field's name in the reference has more than {MAX_LABEL} characters."
        raise RowFailed("field_too_long", reason)
    counts = {storable(field): _compared(field, found, wanted) for field in fields}
    right, wrong, missing = (sum(each[kind] for each in counts.values()) for kind in range(3))
    score = 2 * right / (2 * right + wrong + missing) if right + wrong + missing else 1.0
    threshold = criterion.pass_threshold
    passed = threshold is None or score >= threshold
    return RowResult(name=criterion.name, type=criterion.type, score=score, passed=passed, counts=counts)


def _compared(field: str, found: dict[str, Any], wanted: dict[str, Any]) -> list[int]:
    """Return true positives, false positives and false negatives of one field: at most one of each."""
    if field in found and field in wanted and _same(found[field], wanted[field]):
        return [1, 0, 0]
    return [0, int(field in found), int(field in wanted)]


def _same(found: Any, wanted: Any) -> bool:
    """Return whether two JSON values are equal. In Python, true equals 1."""
    return json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True) or (
        isinstance(found, int | float)
        and isinstance(wanted, int | float)
        and not isinstance(found, bool)
        and not isinstance(wanted, bool)
        and found == wanted
    )


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
