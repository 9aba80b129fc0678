"""Says of a published model whether jobs here can train it, and what an operator has to know of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from core.datasets.template_needs import needs_served
from core.estimates.configuration import takes_fast_path
from core.offering.causal_types import causal_types
from core.offering.checks import Check
from core.offering.published import CONFIG, Published
from core.units import GIB

OPEN_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "openrail", "gemma")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
TOKENIZER = "tokenizer.json"
MOST_SHOWN = 200  # letters of what a publisher has written


def judged(model: Published) -> Iterator[Check]:
    """Yield what was looked at. A check that fails means that no job can train the model."""
    yield _license(model)
    yield _weights(model)
    yield _architecture(model)
    yield _tokenizer(model)
    yield _template(model)


def longest_row(model: Published) -> int | None:
    """Return the most positions that the model was made for, if its configuration says so."""
    of_texts = model.config.get("text_config")
    found = (of_texts if isinstance(of_texts, Mapping) else model.config).get("max_position_embeddings")
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


def _architecture(model: Published) -> Check:
    kind = model.config.get("model_type")
    if not isinstance(kind, str):
        return Check(
            "architecture", "fail", f"no {CONFIG} that names one", "This is not a model of transformers"
        )
    named = (", ".join(_names(model.config.get("architectures"))) or kind)[:MOST_SHOWN]
    if "quantization_config" in model.config:
        advice = "Take the original model: jobs can hold it in 4 or 8 bits themselves (training.quantization)"
        return Check("architecture", "fail", f"{named}, with weights that are quantised already", advice)
    if kind not in causal_types():
        advice = (
            "Code from a model's repository is never run, and transformers itself has no such causal model"
        )
        return Check("architecture", "fail", named, advice)
    path = "the fast path" if takes_fast_path(model.config) else "transformers' own modules: slower"
    return Check("architecture", "ok", f"{named}, which takes {path}")


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
