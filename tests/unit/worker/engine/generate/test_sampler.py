"""The sampler's answers are those of transformers and PEFT, whoever is computed beside them."""

from pathlib import Path

import pytest

from core.methods.low_rank import LoraAdapter, LowRankAdapter
from tests.fixtures.engine.sampling import ask, by_peft, prompts, run, saved_adapter, tokens
from worker.engine.base.base_model import ResidentBase
from worker.engine.generate.adapters import ServedAdapter
from worker.engine.generate.sampler import Sampler

NEW = 12
OPTIONS: dict[str, LowRankAdapter] = {
    "lora": LoraAdapter(r=4, lora_alpha=8, rank_pattern={"q_proj": 2}, alpha_pattern={"up_proj": 3}),
    "stabilised": LoraAdapter(r=6, lora_alpha=4, use_rslora=True, target_modules=["v_proj", "down_proj"]),
    "dora": LoraAdapter(r=3, use_dora=True),
    "pissa": LoraAdapter(r=4, init_lora_weights="pissa"),
}
PROMPTS = prompts(6)


@pytest.fixture(scope="module")
def folders(loaded: list[ResidentBase], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: saved_adapter(loaded[0], each, folder / name) for name, each in OPTIONS.items()}


@pytest.fixture(scope="module")
def expected(tiny_folder: Path, folders: dict[str, Path]) -> dict[str, list[list[int]]]:
    """The answers of transformers and PEFT to each prompt, by adapter."""
    named: dict[str, Path | None] = {"base": None, **folders}
    return {name: by_peft(tiny_folder, folder, PROMPTS, NEW) for name, folder in named.items()}


def adapters(sampler: Sampler, folders: dict[str, Path]) -> dict[str, ServedAdapter | None]:
    return {"base": None} | {name: sampler.load_adapter(folder, name) for name, folder in folders.items()}


def test_answers_of_many_adapters_in_one_batch_are_peft_s(
    base: ResidentBase, folders: dict[str, Path], expected: dict[str, list[list[int]]]
) -> None:
    sampler = Sampler(base)
    requests = [
        ask(f"{name} {number}", prompt, adapter, max_tokens=NEW)
        for name, adapter in adapters(sampler, folders).items()
        for number, prompt in enumerate(PROMPTS)
    ]
    assert not any(request.adapter and request.adapter.why_slow for request in requests)
    pieces = run(sampler, requests)
    for name, answers in expected.items():
        assert [tokens(pieces[f"{name} {number}"]) for number in range(len(PROMPTS))] == answers, name
    assert sampler.load.pool_share == 0
