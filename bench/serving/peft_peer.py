"""transformers and PEFT on the same prompts: one after the other, with the adapter switched for each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig


class Peft:
    """A model with the adapters of the folders, by number."""

    def __init__(self, source: Path, folders: Sequence[Path], device: torch.device) -> None:
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
        self._model: Any = PeftModel.from_pretrained(model, folders[0], adapter_name="0")
        for number, folder in enumerate(folders[1:], start=1):
            self._model.load_adapter(folder, adapter_name=str(number))
        self._model.eval().to(device)

    def answer(self, prompt: list[int], adapter: int, new: int) -> list[int]:
        """Return the likeliest tokens."""
        self._model.set_adapter(str(adapter))
        config = GenerationConfig(do_sample=False, max_new_tokens=new, min_new_tokens=new, pad_token_id=0)
        ids = torch.tensor([prompt], device=self._model.device)
        made = self._model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
        return list(made[0, len(prompt) :].tolist())

    def measure(self, asked: Sequence[tuple[list[int], int]], new: int) -> dict[str, float]:
        """Answer the requests in turn."""
        rates = []
        begun, cpu = time.perf_counter(), time.process_time()
        for prompt, adapter in asked:
            started = time.perf_counter()
            self.answer(prompt, adapter, new)
            rates.append(new / (time.perf_counter() - started))
        seconds = time.perf_counter() - begun
        return {
            "tokens_per_second": new * len(asked) / seconds,
            "tokens_per_cpu_second": new * len(asked) / (time.process_time() - cpu),
            "median_request_tokens_per_second": statistics.median(rates),
        }
