"""Writes the tables of docs/portability.md from the results of all adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.pages import marked
from bench.pages.tables import markdown
from bench.portability.adapters import cases, on_models

ON_SMOLLM2 = "smollm2"  # the result of a LoRA on a whole model, in every form
ON_MODELS = "On tiny models of other families, with a LoRA on all linear layers and all experts:"
FORMS = {"as_it_is": "as it is"}
MEASURED = ("peft", "vllm", "llama_cpp")
Result = dict[str, Any]


def write(results: Mapping[str, Result], page: Path) -> None:
    """Write the results, by the names of their cases, into the page."""
    models = {case.name for case in on_models()}
    methods = [result for name, result in results.items() if name not in {*models, ON_SMOLLM2}]
    parts = [_versions(methods), _by_method(methods)]
    if measured := [results[name] for name in models if name in results]:
        parts += [ON_MODELS, _by_method(measured)]
    if missing := [case.title for case in (*cases(), *on_models()) if case.name not in results]:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    if ON_SMOLLM2 in results:
        parts.append(_by_form(results[ON_SMOLLM2]))
    marked.put(page, "bench/portability", "\n\n".join(part.strip() for part in parts))


def _versions(results: Sequence[Result]) -> str:
    found = {
        f"{runtime['name']} {runtime['version']}"
        for result in results
        for runtime in result["runtimes"]
        if runtime["version"]
    }
    base, prompts = results[0]["base"], results[0]["prompts"]
    return (
        f"Measured with {', '.join(sorted(found))}, on {base}: {prompts['count']} prompts, at most "
        f"{prompts['new_tokens']} tokens each."
    )


def _by_method(results: Sequence[Result]) -> str:
    rows = [
        [result["title"], *(_cell(runtime) for runtime in result["runtimes"])]
        for result in sorted(results, key=lambda each: each["title"].lower())
    ]
    return markdown(["method", *(runtime["name"] for runtime in results[0]["runtimes"])], rows)


def _by_form(result: Result) -> str:
    rows = [
        [result["title"], runtime["name"], FORMS.get(attempt["form"], attempt["form"]), *_figures(attempt)]
        for runtime in result["runtimes"]
        for attempt in runtime["attempts"]
    ]
    heads = ["adapter", "runtime", "form", "equal answers", "top tokens", "first difference", "template"]
    return f"On {result['base']}, in every form:\n\n" + markdown(heads, rows)


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
    first = figures["first_difference"]
    return [
        f"{figures['greedy_equal']} of {figures['prompts']}",
        _nats(figures["max_logprob_difference"]),
        "none" if first is None and figures["greedy_equal"] == figures["prompts"] else _nats(first),
        "equal" if figures["template_tokens_equal"] else "other",
    ]


def _nats(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"
