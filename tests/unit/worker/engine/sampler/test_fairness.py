"""Projects have equal shares of the sampler, and learn nothing of each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.engine.methods import spec_of
from tests.fixtures.engine.sampling import ask, run, tokens
from tests.fixtures.rows.prompts import prompt_of
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.computation import CHEAP_TOKENS
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.fast.schedule import Schedule
from worker.engine.sampler.requests import GenerationRequest
from worker.engine.sampler.running import Chunk, Running
from worker.engine.sampler.sampler import Limits, Sampler

pytestmark = pytest.mark.slow

HI = list(range(20, 50))
NEW = 5  # tokens of a polite answer
SAMPLED = {"ignore_eos": True, "temperature": 1.0}
WITHOUT = Limits(drafts=False)  # the tokens of an answer come one by one


def flood(
    count: int, length: int, new: int = 100, adapter: ServedAdapter | None = None, project: str = "flood"
) -> list[GenerationRequest]:
    return [
        ask(
            f"{project} {number}",
            prompt_of(number, length),
            adapter,
            project=project,
            max_tokens=new,
            **SAMPLED,
        )
        for number in range(count)
    ]


def polite(
    prompt: Sequence[int] = HI, adapter: ServedAdapter | None = None, name: str = "hi"
) -> GenerationRequest:
    return ask(name, prompt, adapter, project="polite", max_tokens=NEW, ignore_eos=True)


def after(sampler: Sampler, requests: Sequence[GenerationRequest], steps: int) -> Sampler:
    """Return the sampler that has taken so many steps with these requests."""
    for request in requests:
        sampler.submit(request)
    for _ in range(steps):
        sampler.step()
    return sampler


def steps_of(sampler: Sampler, request: GenerationRequest) -> list[int]:
    """Return the steps in which the pieces of an answer come, counted from its request on."""
    sampler.submit(request)
    found: list[int] = []
    step = 0
    while len(found) < request.sampling.max_tokens:
        step += 1
        assert step < 2000, "the request is shut out"
        found += [step for piece in sampler.step() if piece.request_id == request.id]
    return found


def by_project(chunks: Sequence[Chunk]) -> Counter[str]:
    found: Counter[str] = Counter()
    for chunk in chunks:
        found[chunk.running.request.project] += chunk.stop - chunk.start
    return found


def computed(sampler: Sampler) -> Counter[str]:
    """Return how many tokens are computed of the requests of each project."""
    found: Counter[str] = Counter()
    for one in requests_in(sampler).values():
        found[one.request.project] += one.computed
    return found


def schedule(sampler: Sampler) -> Schedule:
    found: Schedule = sampler._fast.schedule
    return found


def requests_in(sampler: Sampler) -> dict[str, Running]:
    found: dict[str, Running] = sampler._requests
    return found


def places(sampler: Sampler) -> Counter[str]:
    return Counter(one.request.project for one in schedule(sampler).places.running)


@pytest.mark.parametrize(
    ("length", "prompts", "steps", "running"),
    [(30, 380, 3, 1), (300, 380, 3, 1), (30, 8, 12, 64), (30, 150, 45, 32)],
    ids=["beside prompts", "long, beside prompts", "beside answers", "beside both"],
)
def test_a_chat_beside_a_flood_takes_at_most_twice_as_many_steps_as_alone_and_one(
    base: ResidentBase, length: int, prompts: int, steps: int, running: int
) -> None:
    request = polite(prompt_of(99, length))
    alone = steps_of(Sampler(base, WITHOUT), request)
    full = after(Sampler(base, WITHOUT), flood(100, prompts), steps)
    assert places(full)["flood"] >= running
    beside = steps_of(full, request)
    assert beside[0] <= 2 * alone[0] + 1
    assert beside[-1] <= 2 * alone[-1] + 1


def test_a_step_gives_a_flood_no_more_tokens_than_another_project_needs(base: ResidentBase) -> None:
    sampler = after(Sampler(base, WITHOUT), flood(80, 8), steps=10)
    sampler.submit(polite())
    chunks = schedule(sampler).next_chunks()
    assert by_project(chunks)["polite"] == len(HI)
    assert len(HI) <= by_project(chunks)["flood"] <= len(HI) + CHEAP_TOKENS
    sampler.step()
    assert by_project(schedule(sampler).next_chunks()) == {"polite": 1, "flood": CHEAP_TOKENS}


def test_drafts_that_are_right_give_a_flood_no_more_tokens(base: ResidentBase) -> None:
    requests = flood(3, 8)
    answers = run(Sampler(base, WITHOUT), requests)
    predicted = [replace(one, prediction=tokens(answers[one.id])) for one in requests]
    sampler = after(Sampler(base), [*predicted, polite()], steps=2)
    chunks = schedule(sampler).next_chunks()
    assert sum(len(chunk.draft) for chunk in chunks) > 1
    assert by_project(chunks)["flood"] == CHEAP_TOKENS


def test_many_projects_together_double_the_step_of_one_that_writes_one_token(base: ResidentBase) -> None:
    sampler = Sampler(base, WITHOUT)
    for number in range(CHEAP_TOKENS):
        after(sampler, flood(4, 300, project=str(number)), steps=0)
    after(sampler, [ask("hi", HI, project="polite", **SAMPLED)], steps=6)
    assert requests_in(sampler)["hi"].made
    chunks = by_project(schedule(sampler).next_chunks())
    assert chunks == {"polite": 1} | {str(number): 1 for number in range(CHEAP_TOKENS)}


@pytest.mark.parametrize("length", [8, 380], ids=["that write", "with long prompts"])
def test_a_chat_beside_49_floods_takes_at_most_twice_as_many_steps_as_alone_and_one_and_they_go_on(
    base: ResidentBase, length: int
) -> None:
    alone = steps_of(Sampler(base, WITHOUT), polite())
    requests = [one for number in range(49) for one in flood(4, length, project=str(number))]
    sampler = after(Sampler(base, WITHOUT), requests, steps=12)
    beside = steps_of(sampler, polite())
    assert beside[0] <= 2 * alone[0] + 1
    assert beside[-1] <= 2 * alone[-1] + 1
    after(sampler, [ask("long", HI, project="polite", max_tokens=100, **SAMPLED)], steps=3)
    before = computed(sampler)
    steps = 2 * -(-49 // CHEAP_TOKENS)
    after(sampler, [], steps)
    done = computed(sampler) - before
    assert done["polite"] == steps
    assert done.total() - steps <= steps * CHEAP_TOKENS
    assert all(done[str(number)] >= 2 for number in range(49))


def test_tokens_behind_a_long_text_count_as_several(base: ResidentBase) -> None:
    sampler = after(Sampler(base, WITHOUT), flood(3, 380), steps=4)
    after(sampler, [ask("hi", HI, project="polite", **SAMPLED)], steps=3)
    assert requests_in(sampler)["hi"].made
    assert by_project(schedule(sampler).next_chunks()) == {"polite": 1, "flood": 1}


def test_all_answers_of_a_flood_advance_beside_a_chat(base: ResidentBase) -> None:
    sampler = after(Sampler(base, WITHOUT), flood(20, 8, new=300), steps=2)
    sampler.submit(ask("long", HI, project="polite", max_tokens=40, **SAMPLED))
    before = {name: one.made for name, one in requests_in(sampler).items()}
    for _ in range(30):
        sampler.step()
    assert all(one.made >= before[name] + 10 for name, one in requests_in(sampler).items())


def test_prompts_advance_beside_answers_of_the_same_project_also_if_many_projects_share_a_step(
    base: ResidentBase,
) -> None:
    projects = [str(number) for number in range(12)]
    answers = [one for name in projects for one in flood(1, 8, project=name)]
    chat = ask("hi", HI, project="polite", max_tokens=100, **SAMPLED)
    sampler = after(Sampler(base, WITHOUT), [*answers, chat], steps=8)
    prompts = [ask(f"prompt {name}", prompt_of(50, 60), project=name) for name in projects]
    after(sampler, prompts, steps=20)
    assert all(requests_in(sampler)[prompt.id].computed >= 5 for prompt in prompts)


def test_prompts_of_several_projects_advance_in_each_step(base: ResidentBase) -> None:
    requests = [ask(f"{n}", prompt_of(n, 400), project=str(n)) for n in range(40)]
    sampler = after(Sampler(base, Limits(step_tokens=48, drafts=False)), requests, steps=0)
    for _ in range(20):
        computed = {name: one.computed for name, one in requests_in(sampler).items()}
        sampler.step()
        assert all(one.computed > computed[name] for name, one in requests_in(sampler).items())


def test_a_project_alone_has_all_places_and_others_get_their_equal_shares(base: ResidentBase) -> None:
    sampler = after(Sampler(base, Limits(max_running=12, drafts=False)), flood(40, 8), steps=8)
    assert places(sampler) == {"flood": 12}
    after(sampler, flood(40, 8, project="second"), steps=8)
    assert places(sampler) == {"flood": 6, "second": 6}
    after(sampler, [polite(prompt_of(n, 8), name=f"{n}") for n in (97, 98)], steps=2)
    assert places(sampler) == {"flood": 5, "second": 5, "polite": 2}
    for name in list(requests_in(sampler)):
        if name.startswith("second"):
            sampler.cancel(name)
    while "polite" in places(sampler):
        sampler.step()
    sampler.step()
    assert places(sampler) == {"flood": 12}


def test_more_projects_than_places_take_turns(base: ResidentBase) -> None:
    sampler = Sampler(base, Limits(max_running=3, drafts=False))
    requests = [one for n in range(6) for one in flood(3, 8, new=4, project=str(n))]
    ended = [
        request_id.split()[0]
        for request_id, pieces in run(sampler, requests).items()
        if pieces[-1].finish_reason == "length"
    ]
    assert len(ended) == 18
    for round_of_projects in (ended[:6], ended[6:12], ended[12:]):
        assert sorted(round_of_projects) == list("012345")


def test_a_request_that_fills_the_pool_gives_way_to_another_project_and_ends_later(
    base: ResidentBase,
) -> None:
    pool = 160
    limits = Limits(cache_bytes=pool // BLOCK * RaggedDecoder.block_bytes(base.decoder), drafts=False)
    large = ask("large", prompt_of(1, 110), project="flood", max_tokens=50, **SAMPLED)
    alone = tokens(run(Sampler(base, limits), [large])["large"])
    sampler = after(Sampler(base, limits), [large], steps=40)
    assert sampler.load.pool_share > 0.9
    assert steps_of(sampler, polite())[0] <= 2
    made = list(requests_in(sampler)["large"].tokens[110:])
    made += tokens(run(sampler)["large"])
    assert made == alone


def test_one_project_does_not_learn_what_another_has_sent(base: ResidentBase) -> None:
    sampler = Sampler(base, WITHOUT)
    prompt = prompt_of(5, 100)

    def cached(project: str) -> int:
        return run(sampler, [ask("a", prompt, project=project)])["a"][0].cached_tokens

    assert [cached(project) for project in ("one", "other", "one", "other")] == [0, 0, 96, 96]


@pytest.fixture
def slow_adapter(base: ResidentBase, tmp_path: Path) -> Path:
    attach(base, "job", spec_of("ia3")).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("length", [30, 300], ids=["a short prompt", "a long prompt"])
def test_a_flood_on_the_slow_path_does_not_shut_out_another_project(
    base: ResidentBase, slow_adapter: Path, length: int
) -> None:
    def sampler_and_adapter() -> tuple[Sampler, ServedAdapter]:
        sampler = Sampler(base)
        return sampler, sampler.load_adapter(slow_adapter, "a")

    sampler, adapter = sampler_and_adapter()
    alone = steps_of(sampler, polite(prompt_of(99, length), adapter))
    sampler, adapter = sampler_and_adapter()
    after(sampler, flood(64, 300, adapter=adapter), steps=6)
    assert (sampler.load.running, sampler.load.waiting) == (4, 60)
    beside = steps_of(sampler, polite(prompt_of(99, length), adapter))
    assert beside[0] <= 2 * alone[0] + 1
    assert beside[-1] <= 2 * alone[-1] + 1


def test_answers_on_the_slow_path_stay_the_same_while_projects_take_places_from_each_other(
    base: ResidentBase, slow_adapter: Path
) -> None:
    sampler = Sampler(base, Limits(step_tokens=16, max_running_slowly=3))
    adapter = sampler.load_adapter(slow_adapter, "a")
    requests = [one for name in "xyz" for one in flood(4, 40, new=6, adapter=adapter, project=name)]
    pieces = run(after(sampler, requests[:4], steps=20), requests[4:])
    alone = Sampler(base)
    same = alone.load_adapter(slow_adapter, "a")
    for request in requests[4:]:
        again = ask("again", request.prompt, same, max_tokens=6, **SAMPLED)
        assert tokens(pieces[request.id]) == tokens(run(alone, [again])["again"])
