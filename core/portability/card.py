"""The parts of a model card that say where the adapter loads: code, and a table by the rules."""

from collections.abc import Sequence

from core.portability.report import FORM_NAMES, RuntimeReport
from core.portability.start_lines import fenced

TABLE = """
## Where it loads

| runtime | what it loads | why |
| --- | --- | --- |
{rows}
These are rules. They follow from the method and from each runtime's documentation. What was measured, with
the sources of the rules, is in `GET /v1/adapters/{{id}}/portability` of the service, or in
`tunery adapters portability ID`.
"""
IN_THE_CARD = ("peft", "vllm")  # the runtimes whose code the card shows, if they load the files as they are


def loading_code(reports: Sequence[RuntimeReport]) -> str:
    """Return the code that loads the published files, as blocks of Markdown."""
    shown = [each for each in reports if each.runtime in IN_THE_CARD and each.needs == "as_it_is"]
    return "\n".join(fenced(each.start_line) for each in shown if each.start_line)


def portability_table(reports: Sequence[RuntimeReport]) -> str:
    """Return the table of all runtimes."""
    rows = "".join(
        f"| {each.name} | {FORM_NAMES[each.needs] if each.needs else 'nothing'} | {each.reason} |\n"
        for each in reports
    )
    return TABLE.format(rows=rows)
