"""Which architecture of llama.cpp computes a model as transformers does, and why others are refused."""

from collections.abc import Callable, Iterator
from typing import Any

from core.errors import JobError
from core.portability.converted import CONVERTED, CONVERTED_TITLES, Converted

SLIDING = "sliding_attention"
ATTENTION = ("full_attention", SLIDING)
PERIODIC = ("gpt_oss", "gemma2", "gemma3_text")
"""Of these models, llama.cpp knows only after how many layers one attends to all tokens."""
WITH_WINDOWS = (*PERIODIC, "gemma4_text", "olmo3")
GATES = {
    "nemotron_h": "relu2",
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "gemma4_text"), "gelu_pytorch_tanh"),
}
GATE_NAMES = ("hidden_activation", "mlp_hidden_act", "hidden_act")
SMOLLM3_PERIOD = 4  # of its layers without rotation, which is in llama.cpp's code


def architecture_of(config: Any) -> Converted:
    """Return the architecture of a text model. Raises JobError for one that is not converted."""
    if (found := CONVERTED.get(config.model_type)) is None:
        raise JobError(
            "not_convertible",
            f"Models of the type {config.model_type} are not converted to GGUF here, only "
            f"{CONVERTED_TITLES}. Export the merged model, and convert it with llama.cpp's script.",
            "format",
        )
    if (reason := next(_differences(config), None)) is not None:
        raise JobError(
            "not_convertible",
            f"llama.cpp would compute this {found.title} in another way than it was trained: {reason}. "
            "Export the merged model for another runtime.",
            "format",
        )
    return found._replace(name=_name_of(config, found.name))


def usual_layer(config: Any) -> Any:
    """Return the configuration of most layers, in a model whose layers may have sizes of their own."""
    has_windows = SLIDING in (getattr(config, "layer_types", None) or ())
    return config.per_layer_config[SLIDING if has_windows else 0]


def is_sliding(config: Any) -> list[bool]:
    """Return for each layer whether its attention is limited to a window that is shorter than the context."""
    window = getattr(config, "sliding_window", None)
    if window is None or window >= config.max_position_embeddings:
        return [False] * config.num_hidden_layers
    layers = getattr(config, "layer_types", None) or [SLIDING] * config.num_hidden_layers
    return [each == SLIDING for each in layers]


def period_of(sliding: list[bool]) -> int | None:
    """Return the number of layers after which one attends to all tokens; None if it changes."""
    periods = range(1, len(sliding) + 2)
    return next((n for n in periods if sliding == [bool((i + 1) % n) for i in range(len(sliding))]), None)


def _name_of(config: Any, usual: str) -> str:
    """Return llama.cpp's name. Two types of transformers are several of its architectures."""
    if config.model_type == "nemotron_h" and "moe" in config.layer_types:
        return f"{usual}_moe"
    if config.model_type == "granitemoehybrid" and set(config.layer_types) <= set(ATTENTION):
        return "granitemoe" if config.num_local_experts else "granite"
    return usual


def _differences(config: Any) -> Iterator[str]:
    """Yield what llama.cpp would compute in another way."""
    kind = config.model_type
    sliding = is_sliding(config)
    if any(sliding) and kind not in WITH_WINDOWS:
        yield "it has no windows of attention for this architecture (sliding_window)"
    if kind in PERIODIC and any(sliding) and period_of(sliding) is None:
        yield "its layers with windows do not come at equal distances (layer_types)"
    gate = next((getattr(config, name) for name in GATE_NAMES if hasattr(config, name)), None)
    expected = GATES.get(kind, "silu")
    if gate not in (None, expected):
        yield f"it has no {gate} for this architecture, only {expected}"
    for reason, differs in DIFFERENCES.get(kind, ()):
        if differs(config):
            yield reason


Difference = tuple[str, Callable[[Any], bool]]
IN_ALL_LAYERS: Difference = (
    "it has experts in all layers, or in none (mlp_only_layers, decoder_sparse_step)",
    lambda config: bool(config.mlp_only_layers) or config.decoder_sparse_step != 1,
)
WEIGHTS_OF_ONE: Difference = (
    "the weights of a token's experts add up to 1 there (norm_topk_prob)",
    lambda config: not config.norm_topk_prob,
)
ONE_GROUP: Difference = ("it takes experts out of one group (n_group)", lambda config: config.n_group != 1)
DELTA_RULE: tuple[Difference, ...] = (
    (
        "its keys and values have heads of one size (linear_key_head_dim, linear_value_head_dim)",
        lambda config: bool(config.linear_key_head_dim != config.linear_value_head_dim),
    ),
    (
        "its layers of full attention come at equal distances (layer_types)",
        lambda config: period_of([each not in ATTENTION for each in config.layer_types]) is None,
    ),
)
OWN_SCALE: Difference = (
    "it divides scores by the root of a head's size (query_pre_attn_scalar)",
    lambda config: config.query_pre_attn_scalar != _scale_of_gemma(config),
)


def _scale_of_gemma(config: Any) -> float:
    """Return what llama.cpp takes for the scale: it knows the model of 27B by its number of layers."""
    of_27b = {"gemma2": 46, "gemma3_text": 62}[config.model_type]
    if config.num_hidden_layers == of_27b:
        return float(config.hidden_size / config.num_attention_heads)
    return float(config.head_dim)


DIFFERENCES: dict[str, tuple[Difference, ...]] = {
    "qwen3_moe": (WEIGHTS_OF_ONE, IN_ALL_LAYERS),
    "qwen3_next": (WEIGHTS_OF_ONE, IN_ALL_LAYERS, *DELTA_RULE),
    "qwen3_5_text": DELTA_RULE,
    "qwen3_5_moe_text": DELTA_RULE,
    "glm4_moe": (ONE_GROUP,),
    "nemotron_h": (
        ONE_GROUP,
        (
            "beside layers of experts it has no dense ones (layer_types)",
            lambda config: {"mlp", "moe"} <= set(config.layer_types),
        ),
        (
            "its experts take inputs of the model's size (moe_latent_size)",
            lambda config: config.moe_latent_size is not None,
        ),
    ),
    "gemma2": (OWN_SCALE,),
    "gemma3_text": (
        OWN_SCALE,
        ("it caps no logits (final_logit_softcapping)", lambda config: bool(config.final_logit_softcapping)),
    ),
    "lfm2_moe": (
        WEIGHTS_OF_ONE,
        (
            "its router has a bias and no factor (use_expert_bias, routed_scaling_factor)",
            lambda config: not config.use_expert_bias or config.routed_scaling_factor != 1,
        ),
    ),
    "ernie4_5": (("it has no biases (use_bias)", lambda config: bool(config.use_bias)),),
    "seed_oss": (
        (
            "attention's outputs have no biases (attention_out_bias)",
            lambda config: bool(config.attention_out_bias),
        ),
    ),
    "gpt_oss": (
        (
            "its gate has the limit 7 and the factor 1.702 (swiglu_limit, swiglu_alpha)",
            lambda config: (config.swiglu_limit, config.swiglu_alpha) != (7.0, 1.702),
        ),
    ),
    "smollm3": (
        (
            "every fourth layer has no rotation (no_rope_layers)",
            lambda config: (
                config.no_rope_layers
                != [int(bool((i + 1) % SMOLLM3_PERIOD)) for i in range(config.num_hidden_layers)]
            ),
        ),
    ),
}
