"""The rules: which form of an adapter each runtime takes, and the line that starts it."""

import re
from typing import Any

import pytest

from core.methods.registry import METHODS
from core.portability.report import MEASURED, NAMES
from core.portability.rules import reports_by_rule
from core.portability.traits import traits_of

LORA: dict[str, Any] = {"type": "lora", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
PLAIN = {
    "peft": "as_it_is",
    "vllm": "as_it_is",
    "llama_cpp": "gguf_adapter",
    "sglang": "as_it_is",
    "lorax": "as_it_is",
    "ollama": "gguf",
    "mlx": "mlx",
}
MERGED = {
    **dict.fromkeys(("vllm", "sglang", "lorax", "mlx"), "merged"),
    "peft": "as_it_is",
    "llama_cpp": "gguf",
    "ollama": "gguf",
}
ONLY_PEFT = dict.fromkeys(NAMES) | {"peft": "as_it_is"}
EXPECTED: dict[str, tuple[dict[str, Any], dict[str, str | None]]] = {
    "plain": (LORA, PLAIN),
    "rank-stabilised": (LORA | {"use_rslora": True}, PLAIN | {"sglang": "lora"}),
    "patterns": (
        LORA | {"rank_pattern": {"q_proj": 4}},
        PLAIN | dict.fromkeys(("vllm", "sglang", "lorax"), "lora"),
    ),
    "eva": (
        LORA | {"init_lora_weights": "eva"},
        PLAIN | dict.fromkeys(("vllm", "sglang", "lorax"), "lora"),
    ),
    "invoked": (LORA | {"alora_invocation_tokens": [5]}, ONLY_PEFT),
    "whole modules": (LORA | {"modules_to_save": ["embed_tokens"]}, MERGED),
    "tokens": (LORA | {"trainable_token_indices": [5]}, MERGED),
    "some layers": (LORA | {"layers_to_transform": [1]}, PLAIN | {"lorax": "merged"}),
    "the head": (
        LORA | {"target_modules": ["q_proj", "lm_head"]},
        PLAIN | {"mlx": "merged"},
    ),
    "experts": (
        LORA | {"target_parameters": ["mlp.experts.down_proj"]},
        PLAIN | {"vllm": "lora", "sglang": "lora", "lorax": "merged", "mlx": "merged"},
    ),
    "dora": (LORA | {"use_dora": True}, MERGED),
    "loftq": (LORA | {"init_lora_weights": "loftq"}, ONLY_PEFT),
    "adalora": ({"type": "adalora"}, MERGED),
    "oft": ({"type": "oft"}, MERGED),
    "ln_tuning": ({"type": "ln_tuning"}, MERGED),
    "prefix_tuning": ({"type": "prefix_tuning"}, ONLY_PEFT),
    "beft": ({"type": "beft"}, ONLY_PEFT),
    "full": (
        {"type": "full"},
        dict.fromkeys(NAMES, "as_it_is") | {"llama_cpp": "gguf", "ollama": "gguf"},
    ),
    "a method that only a newer release knows": ({"type": "newest"}, MERGED),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_each_runtime_takes_the_form_that_its_documentation_allows(case: str) -> None:
    options, expected = EXPECTED[case]
    reports = reports_by_rule(options, "example/Tiny", "abc")
    assert {each.runtime: each.needs for each in reports} == expected
    for each in reports:
        assert each.measured is False
        assert each.sources
        assert each.reason
        assert (each.start_line is None) == (each.needs is None)
        can_be_measured = "not_measured" if each.runtime in MEASURED else "works"
        assert each.status == (can_be_measured if each.needs else "unsupported")


@pytest.mark.parametrize("type_", METHODS)
def test_every_method_has_a_start_line_wherever_a_form_of_it_fits(type_: str) -> None:
    for each in reports_by_rule({"type": type_}, "example/Tiny", "abc"):
        assert each.start_line is None or not re.search(r"\{\w*\}", each.start_line)


@pytest.mark.parametrize(
    ("options", "rank"),
    [
        ({"r": 4}, 4),
        ({"r": 4, "rank_pattern": {"q_proj": 12}}, 12),
        ({"r": 4, "init_lora_weights": "pissa_niter_4"}, 8),
        ({"r": 4, "init_lora_weights": "eva"}, 8),
        ({"r": 4, "init_lora_weights": "eva", "eva_config": {"rho": 3.0}}, 12),
    ],
)
def test_the_rank_is_the_largest_of_the_published_files(options: dict[str, Any], rank: int) -> None:
    assert traits_of({"type": "lora", **options}).rank == rank


def test_an_export_of_a_changed_head_is_promised_only_where_it_is_not_the_embedding() -> None:
    on_head = LORA | {"target_modules": ["q_proj", "lm_head"]}
    for each in reports_by_rule(on_head, "a/b", "c1"):
        is_export = each.needs in ("merged", "gguf", "gguf_adapter")
        assert ("if the head of the base model is its embedding" in each.reason) == is_export


def test_vllm_is_started_for_the_next_rank_that_it_allows() -> None:
    lines = {each.runtime: each.start_line for each in reports_by_rule(LORA | {"r": 17}, "a/b", "c1")}
    assert "vllm serve a/b --revision c1 --enable-lora --max-lora-rank 32 " in str(lines["vllm"])
