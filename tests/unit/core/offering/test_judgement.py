"""`tunery models add` judges the families that people fine-tune by their configurations alone."""

import re
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from core.catalog import BaseModelEntry
from core.offering.fits import fits_of
from core.offering.judgement import judged, longest_row
from core.offering.published import Published

SIZES = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 34,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 131072,
    "max_position_embeddings": 262144,
}
VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "model_type": "pixtral"}
LINEAR = {"linear_conv_kernel_dim": 4, "layer_types": ["linear_attention", "full_attention"]}
YARN = {
    "rope_type": "yarn",
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "llama_4_scaling_beta": 0.1,
}
STATIC_FP8 = {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None}


def config(model_type: str, architecture: str, text: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a configuration, with the sizes in a part of it if `text` names the type of a text model."""
    named = {"model_type": model_type, "architectures": [architecture]}
    if text is None:
        return {**named, **SIZES, **fields}
    quantised = {"quantization_config": fields.pop("quantization_config", None)}
    of_texts = {"model_type": text, **SIZES, **fields}
    return {
        **named,
        "text_config": of_texts,
        "vision_config": VISION,
        **{k: v for k, v in quantised.items() if v},
    }


# The path, whether a test holds the type, and whether there are experts
FAMILIES: dict[str, tuple[dict[str, Any], str, bool, bool]] = {
    "Qwen 3.5": (
        config("qwen3_5", "Qwen3_5ForConditionalGeneration", "qwen3_5_text", **LINEAR),
        "portable",
        True,
        False,
    ),
    "Qwen 3.5 A3B": (
        config(
            "qwen3_5_moe", "Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe_text", num_experts=256, **LINEAR
        ),
        *("portable", True, True),
    ),
    "gpt-oss": (
        config(
            "gpt_oss",
            "GptOssForCausalLM",
            num_local_experts=32,
            quantization_config={"quant_method": "mxfp4"},
        ),
        *("fast", True, True),
    ),
    "Gemma 3": (config("gemma3", "Gemma3ForConditionalGeneration", "gemma3_text"), "fast", True, False),
    "Gemma 4": (config("gemma4", "Gemma4ForConditionalGeneration", "gemma4_text"), "fast", True, False),
    "Qwen 3 A3B": (config("qwen3_moe", "Qwen3MoeForCausalLM", num_experts=128), "fast", True, True),
    "Ministral 3": (
        config(
            *("mistral3", "Mistral3ForConditionalGeneration", "ministral3"),
            rope_parameters=YARN,
            quantization_config=STATIC_FP8,
        ),
        *("fast", True, False),
    ),
    "Mistral Small 3": (
        config("mistral3", "Mistral3ForConditionalGeneration", "mistral"),
        "fast",
        True,
        False,
    ),
    "Nemotron 3": (
        config("nemotron_h", "NemotronHForCausalLM", ssm_state_size=128, n_routed_experts=128),
        "portable",
        True,
        True,
    ),
    "GLM 4.5": (config("glm4_moe", "Glm4MoeForCausalLM", n_routed_experts=128), "fast", True, True),
    "LFM 2": (config("lfm2", "Lfm2ForCausalLM", conv_L_cache=3), "portable", True, False),
    "Granite 4": (
        config(
            "granitemoehybrid",
            "GraniteMoeHybridForCausalLM",
            mamba_d_state=128,
            layer_types=["mamba", "attention"],
        ),
        "portable",
        True,
        False,
    ),
}


def published(configuration: dict[str, Any]) -> Published:
    files = {"model.safetensors": 1024**3, "tokenizer.json": 1}
    return Published(
        "example/model", "main", "apache-2.0", files, configuration, {"default": "{{ messages }}"}
    )


def checks(configuration: dict[str, Any], max_length: int = 8192) -> dict[str, Any]:
    return {check.name: check for check in judged(published(configuration), max_length)}


@pytest.mark.parametrize("model_type", ["gpt2", "dbrx", "llama", "kimi_linear"])
def test_the_longest_row_is_found_by_the_name_that_the_architecture_has_for_it(model_type: str) -> None:
    name = CONFIG_MAPPING[model_type].attribute_map.get("max_position_embeddings", "max_position_embeddings")
    assert longest_row(published({"model_type": model_type, name: 1024})) == 1024


def test_a_configuration_without_a_number_of_positions_has_no_longest_row() -> None:
    assert longest_row(published({"model_type": "bloom"})) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_s_path_and_what_trains_are_said(family: str) -> None:
    configuration, path, is_tested, has_experts = FAMILIES[family]
    found = checks(configuration)
    architecture, trains, adapter = (
        found[name] for name in ("architecture", "what trains", "adapter loads in")
    )
    assert f"takes the {path} path" in architecture.found
    assert configuration["architectures"][0] in architecture.found
    assert architecture.state == ("ok" if is_tested else "warn")
    assert ("and its experts" in trains.found) == has_experts
    is_wrapper = "text_config" in configuration
    assert ("images" in trains.found) == is_wrapper
    in_vllm = "export `lora`" if has_experts else "as it is"
    assert f"PEFT (as it is), vLLM ({in_vllm})" in adapter.found
    assert ("MLX" in adapter.found) != is_wrapper
    in_llama_cpp = "gguf" if family == "Gemma 4" else "gguf_adapter"
    assert f"llama.cpp (export `{in_llama_cpp}`)" in adapter.found


def test_a_family_that_is_not_exported_to_gguf_does_not_load_in_llama_cpp() -> None:
    adapter = checks(config("helium", "HeliumForCausalLM"))["adapter loads in"]
    assert "PEFT" in adapter.found
    assert "llama.cpp" not in adapter.found
    assert "Ollama" not in adapter.found


@pytest.mark.parametrize("family", ["Ministral 3", "Mistral Small 3", "Gemma 3"])
def test_the_memory_of_a_whole_model_counts_its_tower(family: str) -> None:
    configuration, *_ = FAMILIES[family]
    entry = BaseModelEntry(
        id="tiny", repository="a/b", source="hub", revision="1", license="MIT", max_length=8192
    )
    fits = {fit.device: fit.verdicts for fit in fits_of(configuration, entry, [])}
    assert fits["NVIDIA H100 80 GB"]["none"] == "fits"
    assert fits["NVIDIA L4"]["nf4"] == "fits"
    wide = {**VISION, "hidden_size": 16384, "intermediate_size": 65536}  # 77 billion weights
    fits = {fit.device: fit.verdicts for fit in fits_of({**configuration, "vision_config": wide}, entry, [])}
    assert fits["NVIDIA H100 80 GB"]["none"] == "does not fit"


def test_a_model_whose_largest_stack_of_experts_cannot_be_loaded_does_not_fit() -> None:
    """Both have as many weights in their experts: 2 large layers, or 32 small ones."""
    entry = BaseModelEntry(
        id="tiny", repository="a/b", source="hub", revision="1", license="MIT", max_length=512
    )

    def on_a_card(layers: int, inner: int) -> str:
        sizes = {"num_hidden_layers": layers, "moe_intermediate_size": inner, "num_experts_per_tok": 1}
        large = config("qwen3_moe", "Qwen3MoeForCausalLM", num_experts=128, **sizes)
        fits = {fit.device: fit.verdicts for fit in fits_of(large, entry, [])}
        return fits["NVIDIA H100 80 GB"]["nf4"]

    assert on_a_card(32, 1024).startswith("fits")
    assert on_a_card(2, 16384) == "does not fit"


def test_rows_longer_than_the_first_context_leave_the_fast_path_if_their_rotation_changes_there() -> None:
    """Ministral 3 scales its queries behind its first context instead, which each path computes."""
    phi = config("phi3", "Phi3ForCausalLM", original_max_position_embeddings=4096)
    phi = {**phi, "rope_scaling": {"type": "longrope"}}
    assert "fast path" in checks(phi, max_length=4096)["architecture"].found
    assert "plain path" in checks(phi, max_length=4097)["architecture"].found
    assert "fast path" in checks(FAMILIES["Ministral 3"][0], max_length=32768)["architecture"].found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "of_tomorrow"}, "no causal model of this type"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantised \(gptq\)"),
        ({"quantization_config": {"quant_method": "awq"}}, r"quantised \(awq\)"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantised"),
        ({"use_bidirectional_attention": True}, "attend to the tokens after them"),
    ],
)
def test_what_workers_refuse_is_not_offered(changes: dict[str, Any], says: str) -> None:
    found = checks({**config("llama", "LlamaForCausalLM"), **changes})
    assert found["architecture"].state == "fail"
    assert found["architecture"].advice
    assert re.search(says, found["architecture"].advice)
    assert "what trains" not in found
