"""What has no fast path is computed by transformers and PEFT, behind the same interface."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.registry import METHODS as REGISTERED
from core.methods.whole import FullTuning
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TINY, tiny_config
from tests.fixtures.engine.methods import BESIDE, METHODS, move, spec_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.sampling import ask, assert_answers_are_peft_s, prompts, run, saved_adapter, text
from tests.fixtures.engine.training import make_spec
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters.files import load_adapter
from worker.engine.sampler.running import Chunk, Computed
from worker.engine.sampler.sampler import Limits, Sampler
from worker.engine.sampler.slow import SlowComputation
from worker.engine.step.trainee import Trainee

pytestmark = [pytest.mark.slow, pytest.mark.family(1)]

NEW = 6
PROMPTS = prompts(3)
CHUNK = 9  # tokens, fewer than the prompts have
JAMBA = tiny_config(
    "Jamba",
    attn_layer_period=2,
    attn_layer_offset=1,
    num_experts=4,
    mamba_d_state=8,
    mamba_dt_rank=4,
    use_mamba_kernels=False,
)
"""Experts beside states that the engine does not follow"""


CASES = ["ia3", "vera", "oft", "prefix_tuning", "prompt_tuning", "trainable_tokens", *BESIDE]


def test_what_answers_one_by_one_is_what_the_page_of_models_says(base: ResidentBase, tmp_path: Path) -> None:
    slow = {name for name in METHODS if is_slow(base, spec_of(name), tmp_path / name)}
    assert slow == METHODS.keys() == REGISTERED.keys() - {"lora", "adalora", "full"}
    for name, options in {
        "adalora": AdaLoraAdapter(init_r=5, target_r=2),
        "full": FullTuning(),
        "modules": LoraAdapter(r=2, modules_to_save=["lm_head"]),
        "tokens": LoraAdapter(r=2, trainable_token_indices=[3]),
    }.items():
        assert is_slow(base, make_spec(adapter=options), tmp_path / name)
    for name, options in {"lora": LoraAdapter(r=2), "dora": LoraAdapter(r=2, use_dora=True)}.items():
        assert not is_slow(base, make_spec(adapter=options), tmp_path / name)


def is_slow(base: ResidentBase, spec: JobSpec, folder: Path) -> bool:
    attach(base, "job", spec).save(folder)
    return load_adapter(base, folder, folder.name).why_slow is not None


@pytest.mark.parametrize("case", CASES)
def test_answers_of_other_methods_are_peft_s(
    base: ResidentBase, tiny_folder: Path, case: str, tmp_path: Path
) -> None:
    spec = spec_of(case)
    trainee = Trainee(attach(base, "job", spec), spec, make_rows(4, 0))
    move(trainee, 0.3)
    trainee.adapter.save(tmp_path)
    sampler = Sampler(base, Limits(step_tokens=CHUNK, max_running_slowly=2))
    adapter = sampler.load_adapter(tmp_path, case)
    assert adapter.why_slow
    assert_answers_are_peft_s(sampler, adapter, tiny_folder, tmp_path)


def test_adalora_and_whole_models_are_taken(base: ResidentBase, tiny_folder: Path, tmp_path: Path) -> None:
    sampler = Sampler(base)
    for name, options in {"adalora": AdaLoraAdapter(init_r=5, target_r=2), "full": FullTuning()}.items():
        spec = make_spec(adapter=options)
        trainee = Trainee(attach(base, name, spec), spec, make_rows(4, 0))
        move(trainee, 0.02)
        trainee.adapter.parameters.refresh()
        trainee.adapter.save(tmp_path / name)
        adapter = sampler.load_adapter(tmp_path / name, name)
        source, folder = (tiny_folder, tmp_path / name) if name == "adalora" else (tmp_path / name, None)
        assert_answers_are_peft_s(sampler, adapter, source, folder)


def test_experts_of_a_model_on_the_plain_path_have_their_updates(tmp_path: Path) -> None:
    save_model(JAMBA(), tmp_path / "base")
    base = ResidentBase(TINY, tmp_path / "base", "0" * 64, torch.device("cpu"))
    folder = saved_adapter(base, LoraAdapter(r=4), tmp_path / "adapter")
    sampler = Sampler(base)
    adapter = sampler.load_adapter(folder, "a")
    assert adapter.why_slow == "tiny has no fast path"
    assert [name for name in load_file(folder / WEIGHTS_NAME) if ".experts.base_layer." in name]
    assert_answers_are_peft_s(sampler, adapter, tmp_path / "base", folder)


def test_a_long_prompt_is_computed_in_chunks_and_so_are_its_log_probabilities(
    base: ResidentBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(base, "job", spec_of("ia3")).save(tmp_path)
    sampler = Sampler(base, Limits(step_tokens=64))
    adapter = sampler.load_adapter(tmp_path, "a")
    kept: list[tuple[int, ...]] = []
    compute = SlowComputation._compute

    def note(slow: SlowComputation, chunk: Chunk) -> Computed:
        found = compute(slow, chunk)
        kept.append(tuple(found.logits_SV.shape))
        return found

    monkeypatch.setattr(SlowComputation, "_compute", note)
    prompt = [20 + place % 200 for place in range(400)]
    pieces = run(sampler, [ask("long", prompt, adapter, max_tokens=2, ignore_eos=True, prompt_logprobs=1)])
    assert len(pieces["long"][0].prompt_logprobs or ()) == 400
    assert [rows for rows, _ in kept] == [*[64] * 6, 16, 1]


def test_a_cancelled_request_leaves_no_cache(base: ResidentBase, tmp_path: Path) -> None:
    spec = spec_of("ia3")
    attach(base, "job", spec).save(tmp_path)
    sampler = Sampler(base, Limits(max_running_slowly=1))
    adapter = sampler.load_adapter(tmp_path, "a")
    for n, prompt in enumerate(PROMPTS):
        sampler.submit(ask(f"{n}", prompt, adapter))
    sampler.step()
    assert (sampler.load.running, sampler.load.waiting) == (1, 2)
    for n in range(3):
        sampler.cancel(f"{n}")
    assert sampler.idle
    assert (sampler.load.running, sampler.load.waiting) == (0, 0)
    assert text(run(sampler, [ask("last", PROMPTS[0], adapter)])["last"])
