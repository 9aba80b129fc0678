"""What has no fast path is computed by transformers and PEFT, behind the same interface."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.whole import FullTuning
from tests.fixtures.engine.architectures import EXPERTS_PACKED, PORTABLE, STATES, TINY
from tests.fixtures.engine.methods import BESIDE, move, spec_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.sampling import ask, prompts, run, saved_adapter, text, tokens
from tests.fixtures.engine.training import make_spec
from tests.fixtures.engine.wrappers import PORTABLE_WRAPPERS
from tests.fixtures.models.tiny import named_class, save_model
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.running import Chunk, Computed
from worker.engine.sampler.sampler import Limits, Sampler
from worker.engine.sampler.slow import SlowComputation
from worker.engine.step.trainee import Trainee

pytestmark = [pytest.mark.slow, pytest.mark.family(1)]

NEW = 6
PROMPTS = prompts(3)
CHUNK = 9  # tokens, fewer than the prompts have


CASES = ["ia3", "vera", "oft", "prefix_tuning", "prompt_tuning", "trainable_tokens", *BESIDE]


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
    check(sampler, adapter, tiny_folder, tmp_path)


ARCHITECTURES = (
    {name: PORTABLE[name] for name in ("gpt-oss, sinks and experts", "qwen 3 moe")}
    | EXPERTS_PACKED
    | STATES
    | PORTABLE_WRAPPERS
)


@pytest.mark.family(3)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_answer_as_transformers(name: str, tmp_path: Path) -> None:
    source = tmp_path / "base"
    save_model(ARCHITECTURES[name](), source)
    base = ResidentBase(TINY, source, "0" * 64, torch.device("cpu"))
    folder = saved_adapter(base, LoraAdapter(r=4), tmp_path / "adapter")
    sampler = Sampler(base, Limits(step_tokens=CHUNK))
    assert sampler.why_slow
    check(sampler, None, source, None)
    check(sampler, sampler.load_adapter(folder, "a"), source, folder)


def check(sampler: Sampler, adapter: ServedAdapter | None, source: Path, folder: Path | None) -> None:
    """Compare the answers with PEFT's computation of the whole rows, without a cache."""
    requests = [
        ask(f"{n}", prompt, adapter, max_tokens=NEW, logprobs=True, prompt_logprobs=0)
        for n, prompt in enumerate(PROMPTS)
    ]
    pieces = run(sampler, requests)
    model: Any = named_class(source).from_pretrained(source, dtype=torch.float32)
    if folder is not None:
        model = PeftModel.from_pretrained(model, folder)
    for request in requests:
        found = pieces[request.id]
        made = tokens(found)
        with torch.no_grad():
            whole_LV = model(input_ids=torch.tensor([[*request.prompt, *made]])).logits[0]
        logits_LV = whole_LV[-len(made) - 1 : -1]
        expected_LV = torch.log_softmax(logits_LV, -1)
        assert made == expected_LV.argmax(-1).tolist()
        logprobs = torch.tensor([piece.chosen.logprob for piece in found if piece.chosen])
        torch.testing.assert_close(logprobs, expected_LV.max(-1).values, atol=1e-4, rtol=1e-4)
        rest = torch.tensor(request.prompt[1:])
        of_prompt_LV = torch.log_softmax(whole_LV[-len(made) - len(request.prompt) : -len(made) - 1], -1)
        logprobs = torch.tensor([each.logprob for each in found[0].prompt_logprobs or () if each])
        wanted = of_prompt_LV.gather(1, rest[:, None])[:, 0]
        torch.testing.assert_close(logprobs, wanted, atol=1e-4, rtol=1e-4)


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
        check(sampler, adapter, source, folder)


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
