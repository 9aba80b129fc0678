"""Counts the answers that equal those of transformers and PEFT, token for token, in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from bench.serving.workload import prompts
from core.catalog import SMOLLM2
from core.methods.low_rank import LoraAdapter, LowRankAdapter
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.requests import GenerationRequest, Sampling
from worker.engine.sampler.sampler import Limits, Sampler

NEW = 48
OPTIONS: dict[str, LowRankAdapter] = {
    "lora": LoraAdapter(r=16),
    "stabilised, of some": LoraAdapter(
        r=8, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"]
    ),
    "dora": LoraAdapter(r=4, use_dora=True),
    "pissa": LoraAdapter(r=4, init_lora_weights="pissa"),
}


def count_equal(source: Path, sha256: str, made: Path, count: int, data: Path | None) -> dict[str, Any]:
    """Answer `count` prompts by each of four adapters in one batch, and compare with transformers and PEFT.

    The pool is so small that requests lose their blocks, and requests join while others are computed.
    """
    entry = SMOLLM2.model_copy(update={"dtype": "fp32"})
    base = ResidentBase(entry, source, sha256, torch.device("cpu"))
    folders = [save(base, name, options, made / name) for name, options in OPTIONS.items()]
    sampler = Sampler(base, Limits(cache_bytes=96 << 20, max_running=24))
    adapters = [sampler.load_adapter(folder, folder.name) for folder in folders]
    texts = prompts(base.tokenizer, count, data)
    answers: dict[str, list[int]] = {}
    asked = [
        (f"{a} {n}", text, adapter) for n, text in enumerate(texts) for a, adapter in enumerate(adapters)
    ]
    while asked or not sampler.idle:
        for name, text, adapter in asked[:3]:
            sampler.submit(GenerationRequest(name, text, Sampling(NEW, temperature=0), adapter))
        asked = asked[3:]
        for piece in sampler.step():
            answers.setdefault(piece.request_id, []).append(int(piece.token or 0))
    fast = sampler._fast
    found: dict[str, Any] = {"preemptions": fast.schedule.preemptions if fast else 0, "prompts": count}
    print("answered, with preemptions:", found["preemptions"], flush=True)
    for a, folder in enumerate(folders):
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        model = PeftModel.from_pretrained(model, folder).eval()
        tokens = [answers[f"{a} {n}"] for n in range(count)]
        equal = sum(each == greedy(model, text, each) for text, each in zip(texts, tokens, strict=True))
        found[folder.name] = equal
        print(f"{folder.name}: {equal} of {count} answers equal PEFT's", flush=True)
    return found


def save(base: ResidentBase, name: str, options: LowRankAdapter, folder: Path) -> Path:
    adapter = TrainableAdapter(base, name, options, seed=3)
    master = adapter.parameters.master
    with torch.no_grad():
        master.add_(torch.randn(master.shape, generator=torch.Generator().manual_seed(1)) * 0.01)
    adapter.parameters.refresh()
    adapter.save(folder)
    return folder


@torch.no_grad()
def greedy(model: Any, prompt: list[int], answer: list[int]) -> list[int]:
    """Return the likeliest token at each place of the answer, computed over the whole row without a cache.

    It equals the answer if, and only if, greedy generation makes the same answer: each of its tokens follows
    from those before it.
    """
    logits_LV = model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0]
    return list(logits_LV[-len(answer) :].argmax(-1).tolist())
