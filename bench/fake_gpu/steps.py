"""Training steps and steps of the sampler of released models, on a GPU that is not there.

Layers of a model repeat, so two of them are enough to show what a step calls. The launches of the whole model
follow from those with one layer more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import CONFIG_MAPPING, GenerationConfig, PreTrainedTokenizerFast

from bench.fake_gpu.device import GPU, Change, FakeGpu, fake_gpu, unchanged
from bench.fake_gpu.roofline import H100, LAUNCH, Card
from bench.memory.models import LLAMA_8B, LLAMA_70B, Case, build, llama
from core.catalog import BaseModelEntry, Compute
from core.estimates.memory_plan import Recompute
from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter, TrainingOptions
from core.objectives.dpo import Dpo
from core.objectives.supervised import Supervised
from tests.fixtures.models.released import released
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.lanes import Lanes
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.portable import PortableDecoder, find_step_costs
from worker.engine.sampler.adapters.served import ServedAdapter, factors_in_training
from worker.engine.sampler.requests import GenerationRequest, Sampling
from worker.engine.sampler.sampler import Limits, Sampler
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee, total_steps
from worker.rows.row import Row

ON_A100, ON_RTX_4090, ON_H100 = (8, 0), (8, 9), (9, 0)
END, WORD = "<end>", "word"  # all words of the tokenizer
PROMPT = 48  # tokens at the start of all rows of a job, which are not learnt


def qwen3_30b(experts: int = 16) -> Any:
    """Return the configuration with some of its 128 experts, which are all computed alike."""
    given = {**released("Qwen3-30B-A3B"), "num_experts": experts}
    return CONFIG_MAPPING[given.pop("model_type")](**given)


def smollm2() -> Any:
    config = llama(30, 576, 1536, 9, 3, 49152)
    config.tie_word_embeddings = True
    return config


SMOLLM2 = Case("SmolLM2 135 M, bf16", smollm2)
BF16_8B, NF4_8B = Case("Llama 3 8 B, bf16", LLAMA_8B), Case("Llama 3 8 B, nf4", LLAMA_8B, quantization="nf4")
NF4_70B = Case("Llama 3 70 B, nf4", LLAMA_70B, quantization="nf4")
BF16_70B = Case("Llama 3 70 B, bf16", LLAMA_70B)
BF16_30B = Case("Qwen3 30 B-A3B, bf16", qwen3_30b)
NF4_30B = Case("Qwen3 30 B-A3B, nf4", qwen3_30b, quantization="nf4")
ALL_EXPERTS = Case("Qwen3 30 B-A3B, bf16", partial(qwen3_30b, 128))


@dataclass(frozen=True)
class Step:
    """A training step: the base model, its jobs, what is computed again, and the GPU."""

    base: Case
    adapter: LoraAdapter = field(default_factory=LoraAdapter)
    jobs: int = 1
    training: TrainingOptions = field(default_factory=TrainingOptions)
    objective: Any = field(default_factory=Supervised)
    recompute: Recompute = Recompute.NONE
    compute: Compute | None = None
    capability: tuple[int, int] = ON_H100
    length: int = 128
    """Tokens of a row; a step has 8 rows of each job"""


DORA, DROPOUT = LoraAdapter(use_dora=True), LoraAdapter(lora_dropout=0.1)
STEPS = {
    "8 B": Step(BF16_8B),
    "8 B on an A100": Step(BF16_8B, capability=ON_A100),
    "8 B in nf4": Step(NF4_8B),
    "8 B in fp8": Step(BF16_8B, compute="fp8"),
    "8 B in fp8 on an RTX 4090": Step(BF16_8B, compute="fp8", capability=ON_RTX_4090),
    "8 B, DoRA": Step(BF16_8B, DORA),
    "8 B in nf4, DoRA": Step(NF4_8B, DORA),
    "8 B, dropout": Step(BF16_8B, DROPOUT),
    "8 B, moments in 8 bits": Step(BF16_8B, training=TrainingOptions(optimizer="adamw_8bit")),
    "8 B, DPO": Step(BF16_8B, objective=Dpo()),
    "8 B, 8 jobs": Step(BF16_8B, jobs=8),
    "8 B, 8 jobs on an A100": Step(BF16_8B, jobs=8, capability=ON_A100),
    "8 B in nf4, 8 jobs of DPO": Step(NF4_8B, jobs=8, objective=Dpo()),
    "8 B, gate and up again": Step(BF16_8B, recompute=Recompute.GATE_UP),
    "8 B, layers again": Step(BF16_8B, recompute=Recompute.LAYERS),
    "8 B, from the host": Step(BF16_8B, recompute=Recompute.LAYERS_FROM_HOST),
    "70 B": Step(BF16_70B, recompute=Recompute.LAYERS),
    "70 B in nf4": Step(NF4_70B, recompute=Recompute.LAYERS_FROM_HOST),
    "70 B in fp8, 8 jobs": Step(BF16_70B, jobs=8, compute="fp8"),
    "30 B-A3B": Step(BF16_30B),
    "30 B-A3B in nf4, DPO": Step(NF4_30B, objective=Dpo()),
    "30 B-A3B, 8 jobs, layers again": Step(BF16_30B, jobs=8, recompute=Recompute.LAYERS),
    "30 B-A3B, from the host": Step(BF16_30B, recompute=Recompute.LAYERS_FROM_HOST),
    "135 M": Step(SMOLLM2),
    "135 M, 8 jobs": Step(SMOLLM2, jobs=8),
    "135 M in fp32, 2 jobs": Step(replace(SMOLLM2, dtype=torch.float32), jobs=2),
}
ANSWERS = {"8 B": BF16_8B, "8 B in nf4": NF4_8B, "30 B-A3B": BF16_30B, "135 M": SMOLLM2}


@dataclass(frozen=True)
class Found:
    """What a step has called: the kernels it starts, and how often which place waits for the GPU."""

    launches: int
    seconds: float
    waits: dict[str, int]


class BaseOnFakeGpu(ResidentBase):
    """A base model without values on the GPU. Nothing is read from a file."""

    def __init__(self, case: Case, layers: int) -> None:
        self.entry = BaseModelEntry(
            id="fake",
            repository="fake",
            source="hub",
            revision="0" * 40,
            license="",
            max_length=8192,
            quantization=case.quantization,
        )
        self.source_sha256, self.device, self.sharded, self.dtype = "", GPU, False, case.dtype
        with GPU:
            self.model, self.decoder = build(case, layers)
        self.model.generation_config = GenerationConfig(eos_token_id=0)
        if isinstance(self.decoder, PortableDecoder):
            self.decoder.step_costs = find_step_costs(self.decoder)
        self.own_attention, self.why_not_faster, self.compute = "eager", "", None
        self.lanes = Lanes(1)
        words = Tokenizer(models.WordLevel({END: 0, WORD: 1}, unk_token=WORD))
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END)


def train(step: Step, layers: int = 2, card: Card = H100, change: Change = unchanged) -> Found:
    """Make a round. Return what it has called. `change` may replace some of the GPU's operations."""
    with fake_gpu(step.capability, card, change) as gpu:
        base = BaseOnFakeGpu(step.base, layers)
        if step.compute is not None:
            assert isinstance(base.decoder, Decoder)
            base.decoder.compute_in(step.compute)
        trainees = [_trainee(base, step, number) for number in range(step.jobs)]
        context = PassContext(base, 16_384, recompute=step.recompute)
        gpu.clear()
        results = train_round(context, trainees)
        if errors := [each for each in results.values() if not isinstance(each, StepResult)]:
            raise errors[0]
    return _found(gpu)


def answer(case: Case, layers: int = 2, requests: int = 16) -> tuple[Found, Found]:
    """Return what a step calls that computes prompts, and one that computes the next token of each answer.

    Every second request is for an adapter, and draws its tokens.
    """
    with fake_gpu(ON_H100) as gpu:
        base = BaseOnFakeGpu(case, layers)
        adapter = _served(base)
        sampler = Sampler(base, Limits(cache_bytes=1 << 28, step_tokens=4096, drafts=False))
        for number in range(requests):
            drawn = Sampling(max_tokens=8, ignore_eos=True, temperature=number % 2, top_p=0.9)
            own = adapter if number % 2 else None
            sampler.submit(GenerationRequest(str(number), [number, *range(100, 140 + number)], drawn, own))
        found = []
        for _ in range(2):
            gpu.clear()
            pieces = sampler.step()
            if len(pieces) != requests or any(piece.error for piece in pieces):
                raise AssertionError(f"{len(pieces)} of {requests} answers: {pieces[:1]}")
            found.append(_found(gpu))
    return found[0], found[1]


def whole(make: Callable[[int], Found], layers: int) -> Found:
    """Return what a step calls with all layers."""
    two = make(2)
    return two if layers == 2 else extended(two, make(3), layers)


def extended(two: Found, three: Found, layers: int) -> Found:
    """Return what so many layers call: two and three layers tell what one layer takes."""
    others = layers - 2
    seconds = two.seconds + others * (three.seconds - two.seconds)
    return Found(two.launches + others * (three.launches - two.launches), seconds, two.waits)


def rows(only: str = "", few_layers: bool = False) -> Iterator[dict[str, Any]]:
    """Yield what each step calls, with all layers and experts of its model unless there are to be few."""
    training = STEPS if few_layers else STEPS | {"30 B-A3B, all experts": Step(ALL_EXPERTS)}
    for name, step in training.items():
        if only in name:
            layers = 2 if few_layers else step.base.shape.layers
            yield _row(f"train {name}", whole(partial(train, step), layers))
    for name, case in ANSWERS.items():
        if only in name:
            layers = 2 if few_layers else case.shape.layers
            two = answer(case, 2)
            three = two if few_layers else answer(case, 3)
            for of, fewer, more in zip(("prompts", "tokens"), two, three, strict=True):
                yield _row(f"16 {of}, {name}", extended(fewer, more, layers))


def _row(name: str, found: Found) -> dict[str, Any]:
    host, gpu = found.launches * LAUNCH, found.seconds
    return {
        "step": name,
        "launches": found.launches,
        "host, ms": round(host * 1e3, 1),
        "GPU, ms": round(gpu * 1e3, 1),
        "waits": found.waits,
    }


def _trainee(base: ResidentBase, step: Step, number: int) -> Trainee:
    adapter = step.adapter.model_copy(update={"lora_alpha": 32 + number})  # so PEFT itself attaches each
    spec = JobSpec(
        base_model="fake",
        seed=number,
        hyperparameters=Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0),
        adapter=adapter,
        training=step.training,
        objective=step.objective,
    )
    rows = _rows(number, step.length, pairs=step.objective.type == "dpo")
    with GPU:
        made = TrainableAdapter(base, f"job {number}", adapter, number, total_steps(spec, rows))
    return Trainee(made, spec, rows)


def _rows(seed: int, length: int, pairs: bool) -> list[Row]:
    random = np.random.default_rng(seed)
    prompt = random.integers(0, 1000, PROMPT).astype(np.int32)
    rows = []
    for line in range(32):
        tokens = np.concatenate([prompt, random.integers(0, 1000, length - PROMPT).astype(np.int32)])
        learnt = np.arange(length) >= PROMPT
        rows.append(Row(line, tokens, learnt, desirable=not (pairs and line % 2)))
    return rows


def _served(base: ResidentBase) -> ServedAdapter:
    spec = LoraAdapter(target_parameters=[])
    with GPU:
        adapter = TrainableAdapter(base, "served", spec, 0)
    modules: dict[str, Any] = dict(base.model.named_modules())
    outputs = {
        name: sum(modules[each].out_features for each in group.columns)
        for name, group in base.decoder.groups.items()
    }
    factors = factors_in_training(adapter.low_ranks(), outputs, base.dtype)
    return ServedAdapter("adapter", 0, factors=factors)


def _found(gpu: FakeGpu) -> Found:
    return Found(sum(gpu.launches.values()), gpu.seconds, dict(gpu.waits))
