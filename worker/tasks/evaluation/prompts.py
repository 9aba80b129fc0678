"""Makes the messages that ask a model about an item: of an eval's templates, or of the item itself."""

from typing import Any

from core.datasets.common_rules import ROLES
from core.evals.data_sources import ItemReference, TemplateInput
from core.graders.sample import Sample
from worker.grading.messages import Messages, rendered
from worker.grading.row_failed import RowFailed

NO_SAMPLE = Sample("")


def prompt_of(
    asked: TemplateInput | ItemReference | None, item: dict[str, Any], prompt: Messages | None = None
) -> Messages:
    """Return the messages that ask the model about an item, which may be a `prompt`. Raises RowFailed."""
    match asked:
        case TemplateInput():
            return rendered(asked.template, item, NO_SAMPLE)
        case ItemReference():
            return _own_messages(item, asked.item_reference.removeprefix("item."))
    return prompt or _own_messages(item, "input")


def _own_messages(item: dict[str, Any], path: str) -> Messages:
    """Return the messages at a path of the item. A text is the message of a user."""
    found: Any = item
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    if isinstance(found, list) and found and all(_is_message(each) for each in found):
        return found
    raise RowFailed(
        "no_input", f"The row has no messages in 'item.{path}'. Set 'input_messages', or add them."
    )


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.get("role") in ROLES
