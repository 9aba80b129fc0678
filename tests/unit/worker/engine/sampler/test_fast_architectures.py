"""The sampler's answers on every architecture of the fast path are those of transformers and PEFT.

They are so in C, and by the plain twin. The step in C lacks some features: norms over all heads at once,
layers with other heads than others, and experts.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from transformers import PretrainedConfig

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import FAST, TINY, WITHOUT_C
from tests.fixtures.engine.sampling import ask, by_peft, prompts, run, saved_adapter, tokens
from tests.fixtures.engine.wrappers import FAST_WRAPPERS
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.fast.native.step import NativeStep
from worker.engine.sampler.sampler import Sampler

pytestmark = [pytest.mark.slow, pytest.mark.family(2)]

MODELS = FAST | FAST_WRAPPERS
NEW = 6
PROMPTS = prompts(3, longest=40)
OPTIONS = {
    "lora": LoraAdapter(r=4, lora_alpha=8),
    "dora": LoraAdapter(r=3, use_dora=True),
}
ON_ATTENTION = {"target_modules": ["q_proj", "v_proj"]}  # PEFT has no DoRA for experts


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_answers_are_those_of_transformers_and_peft(
    make: Callable[[], PretrainedConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(make(), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    options = dict(OPTIONS)
    if base.decoder.experts:
        options["dora"] = OPTIONS["dora"].model_copy(update=ON_ATTENTION)
    folders = {name: saved_adapter(base, spec, tmp_path / name) for name, spec in options.items()}
    sampler = Sampler(base)
    assert sampler._fast
    assert (sampler._fast._ragged._native is None) == make().model_type.startswith(WITHOUT_C)
    in_c = answers(sampler, folders)
    monkeypatch.setattr(NativeStep, "for_pool", lambda *_: None)
    by_the_twin = answers(Sampler(base), folders)
    for name in ("base", *folders):
        expected = by_peft(tmp_path, folders.get(name), PROMPTS, NEW)
        assert in_c[name] == expected, name
        assert by_the_twin[name] == expected, name


def answers(sampler: Sampler, folders: Mapping[str, Path]) -> dict[str, list[list[int]]]:
    """Return the answers to the prompts by each adapter and by the base, all computed together."""
    adapters = {"base": None} | {name: sampler.load_adapter(each, name) for name, each in folders.items()}
    assert not any(adapter and adapter.why_slow for adapter in adapters.values())
    pieces = run(
        sampler,
        [
            ask(f"{name} {number}", prompt, adapter, max_tokens=NEW)
            for name, adapter in adapters.items()
            for number, prompt in enumerate(PROMPTS)
        ],
    )
    return {name: [tokens(pieces[f"{name} {number}"]) for number in range(len(PROMPTS))] for name in adapters}
