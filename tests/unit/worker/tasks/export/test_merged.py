"""Merged models: what they hold, and what the report says of them."""

from pathlib import Path

import torch
from peft import LoHaConfig
from transformers import AutoModelForCausalLM

from core.exports.requests import MergedExport
from tests.fixtures.models.random_adapters import MakeSource
from tests.unit.worker.tasks.export.test_lora import TOKENS, logits, lora
from worker.tasks.export.merged import write_merged


def test_a_merged_model_answers_like_base_and_adapter(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(lora(use_dora=True))
    report = write_merged(source, MergedExport(format="merged", precision="fp32"), tmp_path / "merged")

    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert merged.dtype == torch.float32
    with torch.inference_mode():
        found = merged(input_ids=TOKENS).logits
    assert torch.allclose(found, logits(source.base_folder, source.folder), atol=1e-4)
    assert report["after_merging"]["mean_kl_nats"] < 1e-6
    assert report["after_rounding"] == report["after_merging"]


def test_rounding_to_16_bits_is_measured(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(LoHaConfig(r=2, target_modules=["q_proj", "up_proj"]), type_="loha")
    report = write_merged(source, MergedExport(format="merged"), tmp_path / "merged")

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").dtype == torch.bfloat16
    assert report["after_merging"]["mean_kl_nats"] < report["after_rounding"]["mean_kl_nats"] < 0.01
