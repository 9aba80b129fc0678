"""Answers prompts with llama.cpp: `python llamacpp_program.py ASKED.json TOLD.json`.

It runs in a process of its own and uses the standard library beside the wheel `xllamacpp`. ASKED names the
model, an adapter or none, the prompts and the chats.
"""

import json
import os
import sys
import threading
from collections import deque
from http import HTTPStatus
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import Any

THREADS = 1  # several threads spin while they wait for each other, and take the cores of the training
GREEDY = -1  # the temperature that takes the likeliest token and still gives probabilities


def main() -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    asked = json.loads(Path(sys.argv[1]).read_text())
    try:
        found = answered(asked)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    Path(sys.argv[2]).write_text(json.dumps({"version": version("xllamacpp"), **found}))
    os._exit(0)  # a server that is left would hold the process up


def answered(asked: dict[str, Any]) -> dict[str, Any]:
    server = start(asked)
    at = server.listening_address
    answers = [complete(at, prompt, asked) for prompt in asked["prompts"]]
    chats = asked["chats"]
    return {"answers": answers, "chats": chats and [rendered(at, chat) for chat in chats]}


def start(asked: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked["model"]
    # Flash attention would round keys and values to 16 bits
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.n_parallel, params.n_ctx, params.warmup = 1, max(512, asked["length"]), False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    if asked["adapter"] is not None:
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = asked["adapter"], 1.0
        params.lora_adapters = [lora]
    return xllamacpp.Server(params)


def complete(at: str, prompt: list[int], asked: dict[str, Any]) -> dict[str, Any]:
    wanted = {"prompt": prompt, "n_predict": asked["new_tokens"], "n_probs": asked["top"]}
    more = {"temperature": GREEDY, "cache_prompt": False, "return_tokens": True}
    made = post(at, "/completion", wanted | more)
    return {"tokens": made["tokens"], "tops": tops_of(made["tokens"], made["completion_probabilities"])}


def tops_of(tokens: list[int], steps: list[dict[str, Any]]) -> list[dict[int, float]]:
    """Return the likeliest tokens at each place; none where the token is a part of a character.

    llama.cpp leaves such a token out of its list of steps.
    """
    left = deque(steps)
    tops = []
    for token in tokens:
        step = left.popleft() if left and left[0]["id"] == token else {"top_logprobs": []}
        tops.append({each["id"]: each["logprob"] for each in step["top_logprobs"]})
    return tops + [{each["id"]: each["logprob"] for each in step["top_logprobs"]} for step in left]


def rendered(at: str, chat: list[dict[str, str]]) -> list[int]:
    text = post(at, "/apply-template", {"messages": chat})["prompt"]
    wanted = {"content": text, "add_special": False, "parse_special": True}
    return list(post(at, "/tokenize", wanted)["tokens"])


def post(at: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = HTTPConnection(at.removeprefix("http://"), timeout=600)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    told: dict[str, Any] = json.load(answer)
    connection.close()
    if answer.status != HTTPStatus.OK:
        raise RuntimeError(str(told))
    return told


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
