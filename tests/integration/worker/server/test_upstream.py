"""A server hands requests on to vLLM, which answers as the own sampler does, or says why it cannot."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from core.serving.served_model import SERVED_FIELD, StoredAdapter
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.models.tiny import TINY
from tests.fixtures.outside.vllm import KEY, MAX_RANK, Vllm, adapter_on, door, use_base_of
from tests.fixtures.service.api import Api, refusal, strictly, wait_for
from tests.fixtures.service.chatting import tuned_model
from tests.fixtures.service.serving import ServerProcess, Serving, chat_body, served
from tests.fixtures.work.evals import LOSS, EvalRuns, chat_row
from tests.fixtures.work.likelihood import by_transformers, rendered

pytestmark = pytest.mark.slow

SOON = 30  # seconds
# Lets the model write printable ASCII only: vLLM leaves out bytes at the end that are not a whole character
PRINTABLE: dict[str, Any] = {"logit_bias": {str(token): -100 for token in range(94, 256)}}
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def base(vllm: Vllm, serving: Serving) -> None:
    use_base_of(vllm, serving)


@pytest.fixture(scope="module")
def by_vllm(vllm: Vllm, serving: Serving, base: None) -> ServerProcess:
    return serving.start(**door(serving, vllm))


@pytest.fixture(scope="module")
def own(serving: Serving, base: None) -> ServerProcess:
    return serving.start()


def refusal_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def said(server: ServerProcess, adapter: StoredAdapter | None = None) -> str:
    answer = server.chat("Hello", adapter, **PRINTABLE)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def complete(server: ServerProcess, adapter: StoredAdapter | None = None, **body: Any) -> dict[str, Any]:
    asked = {"model": TINY, "prompt": "Hello", "temperature": 0, **PRINTABLE, **body}
    asked[SERVED_FIELD] = served(adapter)
    answer = server.http.post("/v1/completions", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def events(server: ServerProcess, **body: Any) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream as they come. The connection is closed with the generator."""
    request = chat_body(stream=True, **body)
    with server.http.stream("POST", "/v1/chat/completions", json=request) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: "))


ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stabilised": {"r": 8, "use_rslora": True, "lora_alpha": 24},
    "of several ranks": {
        "rank_pattern": {"v_proj": 2, "layers.1.mlp.down_proj": 8},
        "alpha_pattern": {"q_proj": 3},
    },
}


@pytest.mark.parametrize("changes", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_greedy_answers_are_those_of_the_own_sampler(
    vllm: Vllm, serving: Serving, by_vllm: ServerProcess, own: ServerProcess, changes: dict[str, Any]
) -> None:
    adapter = adapter_on(vllm, serving, 1, **changes)
    for content in ("Hello", "What do the Tigers play?"):
        options = {"max_tokens": 24, "logprobs": True, "top_logprobs": 2, "ignore_eos": True}
        body = chat_body(content, adapter, **options, **PRINTABLE)
        answers = [server.http.post("/v1/chat/completions", json=body) for server in (by_vllm, own)]
        found = [strictly(ChatCompletion, answer.json()) for answer in answers]
        assert found[0].choices[0].message.content == found[1].choices[0].message.content
        of_tokens = [[each.logprob for each in one.choices[0].logprobs.content] for one in found]
        assert of_tokens[0] == pytest.approx(of_tokens[1], abs=1e-3)
        assert found[0].usage.prompt_tokens == found[1].usage.prompt_tokens
        assert found[0].model == TINY
    completions = [strictly(Completion, complete(server, adapter)) for server in (by_vllm, own)]
    assert completions[0].choices[0].text == completions[1].choices[0].text
    assert adapter.sha256 in vllm.adapters()
    wait_for(lambda: adapter.sha256 in serving.row_of(by_vllm).adapters, SOON)
    assert serving.row_of(by_vllm).resident == TINY


def test_a_stream_says_what_a_whole_answer_says(by_vllm: ServerProcess) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(events(by_vllm, stream_options=options, max_tokens=6, **PRINTABLE))
    for chunk in chunks:
        strictly(ChatCompletionChunk, chunk)
    assert all(chunk["usage"] for chunk in chunks)
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    whole = by_vllm.chat(max_tokens=6, **PRINTABLE).json()
    assert (text, chunks[-1]["usage"]) == (whole["choices"][0]["message"]["content"], whole["usage"])
    several = by_vllm.chat(n=3, temperature=1, seed=1).json()
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]


def test_extras_of_vllm_and_structured_answers_pass(by_vllm: ServerProcess) -> None:
    answer = by_vllm.chat(
        max_tokens=40,
        prompt_logprobs=1,
        **PRINTABLE,  # without white space, which vLLM allows everywhere
        response_format={"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA}},
    )
    assert answer.status_code == 200, answer.text
    found = strictly(ChatCompletion, answer.json())
    assert json.loads(str(found.choices[0].message.content))["colour"] in ("red", "blue")
    assert answer.json()["prompt_logprobs"][0] is None
    echoed = complete(by_vllm, echo=True, logprobs=1, max_tokens=2)["choices"][0]
    assert echoed["text"].startswith("Hello")
    assert echoed["logprobs"]["token_logprobs"][0] is None


def test_more_tokens_than_the_model_has_end_at_its_length(by_vllm: ServerProcess, own: ServerProcess) -> None:
    answers = [server.chat("x" * 480, max_tokens=4000, ignore_eos=True) for server in (by_vllm, own)]
    usages = [answer.json()["usage"] for answer in answers]
    assert usages[0]["total_tokens"] == usages[1]["total_tokens"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"r": 2 * MAX_RANK}, "max_lora_rank"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
    ids=["DoRA", "rank", "modules_to_save"],
)
def test_an_adapter_that_vllm_does_not_take_is_refused_with_the_reason(
    vllm: Vllm, serving: Serving, by_vllm: ServerProcess, options: dict[str, Any], named: str
) -> None:
    adapter = adapter_on(vllm, serving, 2, **options)
    for _ in range(2):
        answer = by_vllm.chat("Hello", adapter)
        assert refusal_of(answer) == (409, "server_unsuited")
        assert named in answer.json()["error"]["message"]
    assert adapter.sha256 not in vllm.adapters()
    assert by_vllm.chat().status_code == 200


def test_a_damaged_adapter_never_reaches_vllm(vllm: Vllm, serving: Serving, by_vllm: ServerProcess) -> None:
    changed, foreign = adapter_on(vllm, serving, 3), serving.adapter(3, lora_A=lambda x: x * float("nan"))
    serving.store.put_bytes(f"{changed.prefix}{WEIGHTS_NAME}", b"other bytes")
    for adapter in (changed, foreign):
        assert refusal_of(by_vllm.chat("Hello", adapter)) == (409, "adapter_damaged")
        assert adapter.sha256 not in vllm.adapters()


def test_what_the_operator_or_the_client_must_change_is_said(by_vllm: ServerProcess) -> None:
    tool = {"type": "function", "function": {"name": "paint", "parameters": SCHEMA}}
    answer = by_vllm.chat(tools=[tool])
    assert refusal_of(answer) == (409, "server_unsuited")
    assert "--enable-auto-tool-choice" in answer.json()["error"]["message"]
    assert refusal_of(by_vllm.chat("x" * 600)) == (400, "context_length_exceeded")


def test_vllm_stops_when_the_client_is_gone(vllm: Vllm, by_vllm: ServerProcess) -> None:
    stream = events(by_vllm, max_tokens=400, ignore_eos=True)
    next(stream)
    wait_for(lambda: vllm.running() == 1, SOON)
    stream.close()
    wait_for(lambda: vllm.running() == 0, SOON)
    assert by_vllm.state()["requests"] == 0


def test_an_adapter_that_vllm_has_forgotten_is_loaded_again(
    vllm: Vllm, serving: Serving, by_vllm: ServerProcess
) -> None:
    adapter = adapter_on(vllm, serving, 4)
    before = said(by_vllm, adapter)
    vllm.forget(adapter.sha256)
    assert said(by_vllm, adapter) == before


def test_the_api_sends_to_another_server_what_vllm_does_not_take(
    vllm: Vllm, serving: Serving, by_vllm: ServerProcess, own: ServerProcess, chat_api: Api
) -> None:
    tenant = chat_api.tenant()
    model, _ = tuned_model(chat_api, tenant, adapter_on(vllm, serving, 5, use_dora=True))
    asked = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    answer = tenant.http.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    own.close()
    wait_for(lambda: serving.live() == [by_vllm.url], SOON)
    refusal(tenant.http.post("/v1/chat/completions", json=asked), 409, code="server_unsuited")


LABEL = {
    "type": "label_model",
    "name": "judge",
    "model": TINY,
    "input": [{"role": "user", "content": "Is '{{ sample.output_text }}' right? {{ item.reference }}"}],
    "labels": ["right", "wrong"],
    "passing_labels": ["right"],
}


@pytest.fixture
def runs(serving: Serving, by_vllm: ServerProcess, tmp_path: Path, warm_rendering: None) -> EvalRuns:
    """Return what does runs of evals that only vLLM can answer."""
    wait_for(lambda: serving.live() == [by_vllm.url], SOON)
    return EvalRuns(serving, tmp_path)


def test_the_loss_of_an_eval_by_vllm_is_that_of_transformers(
    vllm: Vllm, serving: Serving, runs: EvalRuns
) -> None:
    rows = [chat_row("Zero?", "none"), chat_row("One?", "one")]
    adapter = adapter_on(vllm, serving, 6)
    found = runs.do([LOSS, {"type": "token_accuracy"}], runs.file(rows), adapter)
    wanted = by_transformers(serving, rendered(vllm.model, rows, "chat", 511), adapter, vllm.model)
    judged = [(record.results[0].score, record.results[1].score) for record in found.records]
    assert judged == [pytest.approx(pair, abs=1e-3) for pair in wanted]
    assert adapter.sha256 in vllm.adapters()


def test_a_grader_of_an_eval_asks_vllm_and_its_labels_always_parse(runs: EvalRuns) -> None:
    samples = [{"item": {"reference": "a"}, "sample": {"output_text": f"answer {n}"}} for n in range(4)]
    found = runs.do([LABEL], runs.file(samples), model=None, judges=[TINY])
    assert [record.error for record in found.records] == [None] * 4
    for record in found.records:
        (label,) = record.results
        said = json.loads((label.sample or {})["output"][0]["content"])["label"]
        assert (label.score, label.passed) == (float(said == "right"), said == "right")
    (used,) = found.report.usage
    assert (used.model_name, used.invocation_count) == (TINY, 4)


def test_the_least_used_adapters_leave_vllm_and_the_disk_also_those_of_an_earlier_server(
    vllm: Vllm, serving: Serving, by_vllm: ServerProcess
) -> None:
    adapters = [adapter_on(vllm, serving, seed, padding=400_000) for seed in range(10, 14)]
    folder = serving.folder / "upstream"
    by_vllm.chat("Hello", adapters[3])
    by_vllm.process.terminate()
    by_vllm.process.wait(SOON)
    small = serving.start(**door(serving, vllm, serve_adapter_bytes=str(1024**2)))  # room for two
    texts = [said(small, adapter) for adapter in adapters[:3]]
    assert vllm.adapters() == [adapter.sha256 for adapter in adapters[1:3]]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(vllm.adapters())
    assert said(small, adapters[0]) == texts[0]
    small.close()


def test_an_upstream_that_hangs_is_given_up_and_found_again(vllm: Vllm, serving: Serving) -> None:
    server = serving.start(**door(serving, vllm))
    stream = events(server, max_tokens=400, ignore_eos=True)
    next(stream)
    with vllm.frozen():
        assert [event["error"]["code"] for event in stream if "error" in event] == ["upstream_lost"]
        wait_for(lambda: server.url not in serving.live(), SOON)
    wait_for(lambda: server.url in serving.live(), SOON)
    assert server.chat().status_code == 200
    assert KEY not in server.log.read_text()


def test_an_upstream_that_died_is_a_clear_error(vllm: Vllm, serving: Serving) -> None:
    """It comes last: the tests before need vLLM."""
    server = serving.start(**door(serving, vllm))
    vllm.kill()
    answer = server.chat()
    assert refusal_of(answer) == (503, "upstream_lost")
    assert answer.headers["retry-after"]
    wait_for(lambda: server.url not in serving.live(), SOON)
