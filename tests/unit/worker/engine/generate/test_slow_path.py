"""What has no fast path is computed by transformers and PEFT, behind the same interface."""

from pathlib import Path

import pytest
import torch

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.whole import FullTuning
from tests.fixtures.engine.architectures import PLAIN, PORTABLE, TINY
from tests.fixtures.engine.methods import move, spec_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.sampling import ask, by_peft, prompts, run, saved_adapter, text, tokens
from tests.fixtures.engine.training import make_spec
from tests.fixtures.tiny import save_model
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.generate.sampler import Limits, Sampler
from worker.engine.step.trainee import Trainee

NEW = 6
PROMPTS = prompts(3)


@pytest.mark.parametrize("case", ["ia3", "vera", "oft", "prefix_tuning", "prompt_tuning", "trainable_tokens"])
def test_answers_of_other_methods_are_peft_s(
    base: ResidentBase, tiny_folder: Path, case: str, tmp_path: Path
) -> None:
    spec = spec_of(case)
    trainee = Trainee(attach(base, "job", spec), spec, make_rows(4, 0))
    move(trainee)
    trainee.adapter.save(tmp_path)
    sampler = Sampler(base, Limits(max_running_slowly=2))
    adapter = sampler.load_adapter(tmp_path, case)
    assert adapter.why_slow
    pieces = run(sampler, [ask(f"{n}", each, adapter, max_tokens=NEW) for n, each in enumerate(PROMPTS)])
    expected = by_peft(tiny_folder, tmp_path, PROMPTS, NEW)
    if case == "prefix_tuning":  # PEFT's own generation ignores the prefix: see `generate_behind_prefix`
        assert [tokens(each) for _, each in sorted(pieces.items())] != expected
    else:
        assert [tokens(each) for _, each in sorted(pieces.items())] == expected


@pytest.mark.parametrize(
    "name", ["qwen 2, biases", "gemma 3, text beside a tower", "lfm 2, short convolutions"]
)
def test_other_architectures_answer_as_transformers(name: str, tmp_path: Path) -> None:
    source = tmp_path / "base"
    save_model((PORTABLE | PLAIN)[name](), source)
    base = ResidentBase(TINY, source, "0" * 64, torch.device("cpu"))
    folder = saved_adapter(base, LoraAdapter(r=4), tmp_path / "adapter")
    sampler = Sampler(base)
    assert sampler.why_slow
    adapter = sampler.load_adapter(folder, "a")
    requests = [ask(f"{n} {a}", p, a, max_tokens=NEW) for n, p in enumerate(PROMPTS) for a in (None, adapter)]
    pieces = [tokens(each) for _, each in sorted(run(sampler, requests).items())]
    plain, adapted = by_peft(source, None, PROMPTS, NEW), by_peft(source, folder, PROMPTS, NEW)
    assert sorted(pieces) == sorted([*plain, *adapted])
    assert plain != adapted


def test_adalora_and_whole_models_are_taken(base: ResidentBase, tiny_folder: Path, tmp_path: Path) -> None:
    sampler = Sampler(base)
    for name, options in {"adalora": AdaLoraAdapter(init_r=5, target_r=2), "full": FullTuning()}.items():
        spec = make_spec(adapter=options)
        trainee = Trainee(attach(base, name, spec), spec, make_rows(4, 0))
        move(trainee, 0.02)
        trainee.adapter.parameters.refresh()
        trainee.adapter.save(tmp_path / name)
        adapter = sampler.load_adapter(tmp_path / name, name)
        pieces = run(sampler, [ask(f"{n}", each, adapter, max_tokens=NEW) for n, each in enumerate(PROMPTS)])
        source, folder = (tiny_folder, tmp_path / name) if name == "adalora" else (tmp_path / name, None)
        expected = by_peft(source, folder, PROMPTS, NEW)
        assert [tokens(each) for _, each in sorted(pieces.items())] == expected, name


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
