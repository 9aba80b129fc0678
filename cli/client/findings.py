"""Says for a person what the server has found in the rows of a file."""

import os
from typing import Any

SHOWN = 10
MOST_SENT = 100  # findings in one answer
HEADS = ("line", "field", "what is wrong")


def with_findings(error: dict[str, Any]) -> str:
    """Return the message of an error, or a table of the findings that it lists.

    The message describes the first findings. So it is enough for a single one, and is left out for several.
    """
    findings = error.get("details") or []
    if len(findings) < 2:
        return str(error["message"])
    rows = [HEADS, *map(_row, findings[:SHOWN])]
    line, field = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"  {row[0]:>{line}}  {row[1]:<{field}}  {row[2]}".rstrip() for row in rows]
    if more := len(findings) - SHOWN:
        at_least = "at least " if len(findings) >= MOST_SENT else ""
        lines += [
            f"  … and {at_least}{more:,} more: --json lists {'the first ' * bool(at_least)}{len(findings)}"
        ]
    return os.linesep.join(["The rows have mistakes:", *lines, "Nothing was kept"])


def _row(finding: dict[str, Any]) -> tuple[str, str, str]:
    return str(finding.get("line", "-")), finding.get("field") or "-", str(finding.get("message", finding))
