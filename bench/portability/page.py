"""Writes the tables of docs/portability.md from one result file for each adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.pages import marked
from bench.pages.tables import markdown
from bench.portability.adapters import cases

SCRIPT = "bench/portability"
FORMS = {"as_it_is": "as it is"}
MEASURED = ("peft", "vllm", "llama_cpp")
Result = dict[str, Any]


def write(results: Sequence[Path], page: Path) -> None:
    """Write the results into the page. The first folder has the methods, the second one SmolLM2."""
    methods, whole = ([_read(file) for file in sorted(folder.glob("*.json"))] for folder in results)
    parts = [_versions(methods), _by_method(methods)]
    known = {result["title"] for result in methods}
    if missing := [case.title for case in cases() if case.title not in known]:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    if whole:
        parts.append(_by_form(whole))
    marked.put(page, SCRIPT, "\n\n".join(part.strip() for part in parts))


def _read(file: Path) -> Result:
    found: Result = json.loads(file.read_text())
    return found


def _versions(results: Sequence[Result]) -> str:
    found = {
        f"{runtime['name']} {runtime['version']}"
        for result in results
        for runtime in result["report"]["runtimes"]
        if runtime["version"]
    }
    base, prompts = results[0]["base"], results[0]["report"]["prompts"]
    return (
        f"Measured with {', '.join(sorted(found))}, on {base}: {prompts['count']} prompts, at most "
        f"{prompts['new_tokens']} tokens each, in fp32; GGUF files have 16 bits."
    )


def _by_method(results: Sequence[Result]) -> str:
    rows = [
        [result["title"], *(_cell(runtime) for runtime in _measured(result))]
        for result in sorted(results, key=lambda each: each["title"].lower())
    ]
    return markdown(["method", *(runtime["name"] for runtime in _measured(results[0]))], rows)


def _by_form(results: Sequence[Result]) -> str:
    rows = [
        [result["title"], runtime["name"], FORMS.get(attempt["form"], attempt["form"]), *_figures(attempt)]
        for result in results
        for runtime in _measured(result)
        for attempt in runtime["attempts"]
    ]
    heads = ["adapter", "runtime", "form", "equal answers", "top tokens", "first difference", "template"]
    return f"On {results[0]['base']}, in every form:\n\n" + markdown(heads, rows)


def _measured(result: Result) -> Iterator[dict[str, Any]]:
    return (each for each in result["report"]["runtimes"] if each["runtime"] in MEASURED)


def _cell(runtime: dict[str, Any]) -> str:
    if runtime["status"] == "unsupported":
        return "no form"
    if not runtime["figures"]:
        return str(runtime["status"]).replace("_", " ")
    figures, form = runtime["figures"], runtime["needs"]
    word = "" if runtime["status"] == "works" else f"{runtime['status']}: "
    return f"{word}{figures['greedy_equal']}/{figures['prompts']}, {FORMS.get(form, f'`{form}`')}"


def _figures(attempt: dict[str, Any]) -> list[str]:
    figures = attempt["figures"]
    if figures is None:
        return ["does not load", "", "", ""]
    apart = figures["first_difference"]
    return [
        f"{figures['greedy_equal']} of {figures['prompts']}",
        _nats(figures["max_logprob_difference"]),
        "none" if apart is None and figures["greedy_equal"] == figures["prompts"] else _nats(apart),
        "equal" if figures["template_tokens_equal"] else "other",
    ]


def _nats(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"
