"""Rules: what each runtime loads, by its own documentation.

Each rule returns the form that the runtime takes and a sentence with the reason. A form of None means that no
form fits.
"""

from collections.abc import Callable, Mapping
from typing import Any

from core.portability.converted import CONVERTED_TITLES
from core.portability.report import MEASURED, NAMES, Form, Runtime, RuntimeReport
from core.portability.start_lines import start_line
from core.portability.traits import PROMPTS, Traits, traits_of

Verdict = tuple[Form | None, str]

SOURCES: dict[Runtime, tuple[str, ...]] = {
    "peft": ("https://huggingface.co/docs/peft/main/en/developer_guides/checkpoint",),
    "vllm": (
        "https://docs.vllm.ai/en/latest/features/lora/",
        "https://docs.vllm.ai/en/latest/api/vllm/config/lora/",
        "https://github.com/vllm-project/vllm/issues/10849",
        "https://github.com/vllm-project/vllm/issues/40005",
    ),
    "llama_cpp": (
        "https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py",
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        "https://github.com/ggml-org/llama.cpp/issues/6536",
    ),
    "sglang": (
        "https://docs.sglang.io/docs/advanced_features/lora",
        "https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/lora/lora_config.py",
        "https://github.com/sgl-project/sglang/issues/25528",
    ),
    "lorax": (
        "https://github.com/predibase/lorax/blob/main/docs/models/adapters/lora.md",
        "https://github.com/predibase/lorax/blob/main/server/lorax_server/adapters/lora.py",
    ),
    "ollama": ("https://docs.ollama.com/import",),
    "mlx": ("https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/LORA.md",),
}
NOT_WITH_TIED_HEAD = frozenset[Form | None]({"merged", "gguf", "gguf_adapter"})


def reports_by_rule(options: Mapping[str, Any], repository: str, revision: str) -> list[RuntimeReport]:
    """Return what the rules say of an adapter with these options, for each runtime."""
    traits = traits_of(options)
    return [_report(runtime, traits, repository, revision) for runtime in NAMES]


def form_by_rule(runtime: Runtime, traits: Traits) -> Verdict:
    """Return the form that a runtime takes, and the reason."""
    if runtime == "peft":
        return _peft(traits)
    if (verdict := _only_peft(NAMES[runtime], traits)) is not None:
        return verdict
    form, reason = RULES[runtime](traits)
    if traits.changes_head and form in NOT_WITH_TIED_HEAD:
        reason += " That cannot be exported if the head of the base model is its embedding too."
    return form, reason


def _report(runtime: Runtime, traits: Traits, repository: str, revision: str) -> RuntimeReport:
    form, reason = form_by_rule(runtime, traits)
    line = None
    if form is not None:
        line = start_line(runtime, form, repository, revision, traits.rank, whole_model=traits.is_whole_model)
    can_be_measured = runtime in MEASURED
    return RuntimeReport(
        runtime=runtime,
        name=NAMES[runtime],
        status="unsupported" if form is None else "not_measured" if can_be_measured else "works",
        measured=False,
        needs=form,
        reason=reason,
        sources=list(SOURCES[runtime]),
        start_line=line,
    )


def _peft(traits: Traits) -> Verdict:
    if traits.is_whole_model:
        return "as_it_is", "The result is a whole model, which transformers loads."
    if traits.quantisation_repair:
        return "as_it_is", "PEFT loads it, on the base model in the quantisation on which LoftQ began."
    if traits.type in PROMPTS:
        return "as_it_is", (
            "The files are PEFT's own. But generate() of PEFT 0.21 loses virtual tokens in the cache of "
            "transformers 5: call the model for each token."
        )
    return "as_it_is", "The files are PEFT's own."


def _only_peft(name: str, traits: Traits) -> Verdict | None:
    """Return the verdict of an adapter that no other runtime takes, in any form. None for other adapters."""
    if traits.quantisation_repair:
        return None, f"LoftQ belongs to one quantised base model of bitsandbytes, which {name} does not have."
    if traits.is_invoked:
        return None, (
            f"The adapter acts only from its invocation on (aLoRA). No export can say that, and {name} would "
            "let it act on all tokens, or refuses it as vLLM does."
        )
    if traits.type in PROMPTS:
        return None, f"{traits.title} changes no weight to merge, and {name} takes no such adapter."
    if not traits.is_mergeable:
        return (
            None,
            f"{traits.title} may add biases, which cannot be merged, and {name} takes no such adapter.",
        )
    return None


def _vllm(traits: Traits) -> Verdict:
    if traits.is_whole_model:
        return "as_it_is", "The result is a whole model, which vLLM serves by itself."
    if traits.changes_experts:
        return "lora", (
            "vLLM loads a pair of A and B for each matrix of each expert, as in the export, if it has LoRA "
            "for the family, such as Qwen 3 MoE. Of gpt-oss it takes the adapter as it is."
        )
    if traits.is_lora and traits.has_patterns:
        return "lora", "Some modules have ranks or alphas of their own, which vLLM reads since 0.32 only."
    if traits.is_lora:
        return "as_it_is", (
            "vLLM loads LoRA adapters of one rank, if --max-lora-rank allows the rank. Export one of GLM 4 "
            "or Llama 4 as `merged`: 0.32 refuses the former, and computes the latter otherwise."
        )
    return "merged", _only_lora("vLLM", traits)


def _sglang(traits: Traits) -> Verdict:
    if traits.is_whole_model:
        return "as_it_is", "The result is a whole model, which SGLang serves by itself."
    if traits.changes_experts:
        return (
            "lora",
            "SGLang ignores PEFT's form of experts. The export has a pair for each matrix.",
        )
    if traits.is_lora and (traits.has_patterns or traits.is_rank_stabilised):
        return "lora", "SGLang scales every module by alpha / r. The export has the scales in B."
    if traits.is_lora:
        return "as_it_is", "SGLang loads LoRA adapters of one rank."
    return "merged", _only_lora("SGLang", traits)


def _lorax(traits: Traits) -> Verdict:
    if traits.is_whole_model:
        return "as_it_is", "The result is a whole model, which LoRAX serves by itself."
    if traits.changes_experts:
        return "merged", "LoRAX has no LoRA of experts."
    if traits.is_lora and traits.on_some_layers:
        return "merged", "LoRAX leaves out a module that has no factors in some of the decoder layers."
    if traits.is_lora and traits.has_patterns:
        return "lora", "LoRAX scales every module by one alpha and one rank. The export has the scales in B."
    if traits.is_lora:
        return "as_it_is", "LoRAX loads PEFT's LoRA adapters."
    return "merged", _only_lora("LoRAX", traits)


def _llama_cpp(traits: Traits) -> Verdict:
    if traits.is_whole_model:
        return "gguf", f"llama.cpp reads GGUF files. Exported are only {CONVERTED_TITLES}."
    if traits.is_lora:
        return (
            "gguf_adapter",
            f"llama.cpp adds a GGUF of A and B to one of the base. Exported are only {CONVERTED_TITLES}.",
        )
    return "gguf", _only_lora("llama.cpp", traits)


def _ollama(_traits: Traits) -> Verdict:
    return "gguf", f"Ollama imports whole models, and adapters no more. Exported are only {CONVERTED_TITLES}."


def _mlx(traits: Traits) -> Verdict:
    if traits.is_whole_model:
        return "as_it_is", "The result is a whole model, whose files mlx-lm reads."
    if traits.changes_experts:
        return "merged", "mlx-lm holds the experts of a layer in one layer, which our export does not write."
    if traits.is_lora and not traits.changes_head:
        return "mlx", (
            "mlx-lm has other names, and A and B transposed. On a model of texts and images, export the "
            "merged model: its names are not known here."
        )
    if traits.is_lora:
        return "merged", "mlx-lm adapts the decoder layers, and not the head."
    return "merged", _only_lora("mlx-lm", traits)


def _only_lora(name: str, traits: Traits) -> str:
    what = "DoRA" if traits.is_dora else traits.title
    if traits.trains_modules:
        what = "what is trained beside them"
    return f"{name} loads A and B of LoRA only; {what} must be merged into the base model's weights."


RULES: dict[Runtime, Callable[[Traits], Verdict]] = {
    "vllm": _vllm,
    "llama_cpp": _llama_cpp,
    "sglang": _sglang,
    "lorax": _lorax,
    "ollama": _ollama,
    "mlx": _mlx,
}
