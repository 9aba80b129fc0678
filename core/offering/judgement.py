"""Says of a published model whether jobs here can train it, and what an operator has to know of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from core.base_files.loadable import quantised_source, text_of, why_not_loadable
from core.datasets.template_needs import needs_served
from core.estimates.expected_path import EXPERT_TYPES, EnginePath, expected_path
from core.estimates.layers.table import EXPERTS
from core.methods.low_rank import LoraAdapter
from core.offering.checks import Check
from core.offering.known_types import is_listed_type
from core.offering.published import CONFIG, Published
from core.portability.converted import CONVERTED
from core.portability.report import FORM_NAMES
from core.portability.rules import reports_by_rule
from core.units import GIB

OPEN_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "openrail", "gemma")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
TOKENIZER = "tokenizer.json"
# What configurations call the most positions: GPT-2's kind has `n_positions`, for example
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "model_max_length", "context_length")
MOST_SHOWN = 200  # letters of what a publisher has written
MOST_ADVICE = 400
PATHS: Mapping[EnginePath, str] = {
    "fast": "which takes the fast path",
    "portable": "which takes the portable path, of transformers' own modules: slower than the fast path",
    "plain": "which takes the plain path, of transformers' own modules row by row: the slowest",
}


def judged(model: Published, max_length: int) -> Iterator[Check]:
    """Yield what was looked at. A check that fails means that no job can train the model.

    `max_length` is the most tokens of a row.
    """
    yield _license(model)
    yield _weights(model)
    yield (architecture := _architecture(model, max_length))
    if architecture.state != "fail":
        yield _training(model)
        yield _runtimes(model)
    yield _tokenizer(model)
    yield _template(model)


def longest_row(model: Published) -> int | None:
    """Return the most positions that the model was made for, if its configuration says so."""
    config = text_of(model.config)
    found = next((config[name] for name in POSITIONS if name in config), None)
    return found if isinstance(found, int) and found >= 8 else None


def _license(model: Published) -> Check:
    if model.license is None:
        return Check("licence", "warn", "none is declared", "Ask its publisher, and name it yourself")
    if model.license.lower() in OPEN_LICENSES:
        return Check("licence", "ok", model.license)
    return Check("licence", "warn", model.license, "Read it: it may not allow what you want to do")


def _weights(model: Published) -> Check:
    if model.weight_bytes:
        return Check("weights", "ok", f"safetensors, {model.weight_bytes / GIB:.1f} GiB to fetch and to keep")
    pickles = [name for name in model.files if name.endswith(PICKLES)]
    if pickles:
        advice = "Convert them to safetensors: pickled weights may run code, and are never loaded"
        return Check("weights", "fail", f"no safetensors, but {pickles[0]}", advice)
    if any(name.endswith(".gguf") for name in model.files):
        return Check("weights", "fail", "GGUF only", "Take the repository that these files were made of")
    return Check("weights", "fail", "none", "Take a repository that holds the weights, as safetensors")


def _architecture(model: Published, max_length: int) -> Check:
    kind = model.config.get("model_type")
    if not isinstance(kind, str):
        return Check(
            "architecture", "fail", f"no {CONFIG} that names one", "This is not a model of transformers"
        )
    named = (", ".join(_names(model.config.get("architectures"))) or kind)[:MOST_SHOWN]
    if (reason := why_not_loadable(model.config, is_listed_type)) is not None:
        return Check("architecture", "fail", named, f"Workers refuse it: {reason}"[:MOST_ADVICE])
    path, is_tested = expected_path(model.config, max_length)
    found = f"{named}, {PATHS[path]}"
    if (source := quantised_source(model.config)) is not None:
        found += f". Its weights are in {source.method}, and are computed back while they are loaded"
    if is_tested:
        return Check("architecture", "ok", found)
    advice = (
        "No test of Tunery holds this architecture. A worker tries it out when it first loads the model, and "
        "refuses it if no path computes it correctly: try it with a small job"
    )
    return Check("architecture", "warn", f"{found}, if a trial confirms it", advice)


def _training(model: Published) -> Check:
    """Return which layers a job with `all-linear` trains."""
    text = text_of(model.config)
    found = "the linear layers of the text model"
    if text is not model.config:
        found += "; what is for images or sound stays as it is"
    if not any(text.get(name) for name in EXPERTS):
        return Check("what trains", "ok", found)
    if str(text.get("model_type")) not in EXPERT_TYPES:
        return Check("what trains", "warn", f"{found}, and its experts if a worker can compute them")
    return Check("what trains", "ok", f"{found}, and its experts; routers stay as they are")


def _runtimes(model: Published) -> Check:
    """Return which runtimes load an adapter that a LoRA job publishes, by rule."""
    kind = str(text_of(model.config).get("model_type") or model.config.get("model_type"))
    is_wrapper = text_of(model.config) is not model.config
    left_out = {"mlx"} if is_wrapper else set()
    converted = CONVERTED.get(kind)
    if converted is None:
        left_out |= {"llama_cpp", "ollama"}
    forms = {} if converted is None or converted.adapts_all else {"llama_cpp": FORM_NAMES["gguf"]}
    has_experts = any(text_of(model.config).get(name) for name in EXPERTS)
    adapter = LoraAdapter(target_parameters=["experts"] if has_experts else None)
    reports = reports_by_rule(adapter.model_dump(), model.name, model.revision)
    shown = [
        f"{each.name} ({forms.get(each.runtime, FORM_NAMES[each.needs])})"
        for each in reports
        if each.needs and each.runtime not in left_out
    ]
    found = ", ".join(shown)
    if is_wrapper:
        found += ". Layers are named as in the whole model, as vLLM and SGLang look for them"
    return Check("adapter loads in", "ok", f"{found}. A runtime must have the architecture itself")


def _tokenizer(model: Published) -> Check:
    if TOKENIZER in model.files:
        return Check("tokenizer", "ok", TOKENIZER)
    advice = "A worker may still convert it when it loads the model; try it with a small job"
    return Check("tokenizer", "warn", f"no {TOKENIZER}, the form of a fast tokenizer", advice)


def _template(model: Published) -> Check:
    if model.templates:
        tools = "a place" if "tools" in needs_served(model.templates) else "no place"
        return Check("chat template", "ok", f"there, with {tools} for tools")
    advice = "Take the model's -Instruct or -Chat variant, or put a template into a folder of the model"
    return Check("chat template", "fail", "none, so rows of messages cannot be rendered", advice)


def _names(found: Any) -> list[str]:
    return [str(name) for name in found] if isinstance(found, list) else []
