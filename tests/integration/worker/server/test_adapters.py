"""A server fetches adapters from the object store when they are asked for, and believes no damaged one."""

from typing import Any

import httpx
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.embedded import EmbeddedServers
from core.serving.served_model import SERVED_FIELD, StoredAdapter
from core.storage.folders import fetch_folder
from faults.relay import Relay
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.serving import WEIGHTS, ServerProcess, Serving, served


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def by_peft(serving: Serving, adapter: StoredAdapter, content: str, tokens: int) -> str:
    """Return the answer of transformers and PEFT to a chat."""
    folder = serving.folder / f"fetched-{adapter.sha256[:8]}"
    fetch_folder(serving.store, adapter.prefix, [file.model_dump() for file in adapter.files], folder)
    base: Any = AutoModelForCausalLM.from_pretrained(serving.folder / "model", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(serving.folder / "model")
    messages = [{"role": "user", "content": content}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    made = model.generate(**prompt, do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    return str(tokenizer.decode(made[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))


def test_a_chat_with_an_adapter_says_what_peft_says(serving: Serving, server: ServerProcess) -> None:
    first, second = serving.adapter(1), serving.adapter(2)
    for adapter in (first, second):
        assert text_of(server.chat("Hello", adapter, max_tokens=16)) == by_peft(serving, adapter, "Hello", 16)
    assert text_of(server.chat(max_tokens=16)) != text_of(server.chat("Hello", first, max_tokens=16))
    wait_for(lambda: {first.sha256, second.sha256} <= set(serving.row_of(server).adapters))
    assert serving.row_of(server).resident == TINY


def test_a_model_answers_on_weights_in_the_precision_that_it_was_trained_in(
    serving: Serving, server: ServerProcess
) -> None:
    adapter = serving.adapter(6)

    def made_by(precision: str | None) -> str:
        asked = served(adapter) | {"precision": precision}
        answer = server.chat("Hello", **{SERVED_FIELD: asked})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["system_fingerprint"])

    published, in_4_bits = made_by(None), made_by("nf4")
    assert published != in_4_bits
    assert (made_by("none"), made_by("nf4")) == (published, in_4_bits)


def test_the_same_content_has_the_same_hash_wherever_it_lies(serving: Serving) -> None:
    adapter = serving.adapter(3)
    files = [file.model_dump() for file in adapter.files]
    others = [{"name": "README.md", "bytes": 1, "sha256": "0" * 64}]
    assert StoredAdapter.of("elsewhere/", [*others, *reversed(files)]).sha256 == adapter.sha256
    changed = [{**file, "sha256": "1" * 64} if file["name"] == WEIGHTS else file for file in files]
    assert StoredAdapter.of(adapter.prefix, changed).sha256 != adapter.sha256


def test_a_file_that_is_not_the_published_one_is_refused(serving: Serving, server: ServerProcess) -> None:
    adapter = serving.adapter(4)
    serving.store.put_bytes(f"{adapter.prefix}{WEIGHTS}", b"other bytes")
    for _ in range(2):
        assert code_of(server.chat("Hello", adapter)) == (409, "adapter_damaged")
    assert server.chat().status_code == 200


@pytest.mark.parametrize(
    "change",
    [lambda tensor: tensor * float("nan"), lambda tensor: torch.cat([tensor, tensor], dim=-1)],
    ids=["not finite", "another shape"],
)
def test_an_adapter_that_does_not_fit_is_refused_and_not_kept(
    serving: Serving, server: ServerProcess, change: Any
) -> None:
    adapter = serving.adapter(5, lora_A=change)
    before = server.state()["adapters"]
    for _ in range(2):
        assert code_of(server.chat("Hello", adapter)) == (409, "adapter_damaged")
    assert server.state()["adapters"] == before


def test_an_adapter_that_is_gone_from_the_store_is_refused(serving: Serving, server: ServerProcess) -> None:
    adapter = serving.adapter(6)
    moved = adapter.model_copy(update={"prefix": "adapters/nowhere/", "sha256": "2" * 64})
    assert code_of(server.chat("Hello", moved)) == (409, "adapter_damaged")


def test_the_least_used_adapters_leave_when_memory_is_used_up(serving: Serving) -> None:
    server = serving.start(serve_adapter_bytes=str(1024**2))
    adapters = [serving.adapter(seed, r=64) for seed in range(4)]
    texts = [text_of(server.chat("Hello", adapter)) for adapter in adapters]
    assert server.state()["adapters"] < len(adapters)
    assert [text_of(server.chat("Hello", adapter)) for adapter in adapters] == texts


def test_chats_go_on_while_the_store_breaks_off_and_the_adapter_is_fetched_later(
    serving: Serving, servers: EmbeddedServers
) -> None:
    adapter = serving.adapter(7)
    with Relay.to(servers.urls["s3_endpoint_url"]) as relay:
        server = serving.start(s3_endpoint_url=relay.url)
        relay.loss = 1.0
        answer = server.chat("Hello", adapter)
        assert code_of(answer) == (503, "unavailable")
        assert answer.headers["retry-after"]
        assert server.chat().status_code == 200
        relay.loss = 0.0
        assert server.chat("Hello", adapter).status_code == 200
