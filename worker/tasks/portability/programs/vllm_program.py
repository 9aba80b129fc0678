"""Answers prompts with vLLM: `python vllm_program.py ASKED.json TOLD.json`, by the Python that has vLLM.

It runs in an environment of its own, so it uses the standard library beside vLLM. ASKED names the model, an
adapter or none, the prompts and the chats.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that an engine may be started for


def main() -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    asked = json.loads(Path(sys.argv[1]).read_text())
    import vllm

    try:
        found = answered(start(asked), asked)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    Path(sys.argv[2]).write_text(json.dumps({"version": vllm.__version__, **found}))
    os._exit(0)  # the engine's threads would hold the process up


def start(asked: dict[str, Any]) -> Any:
    import vllm

    adapted = {}
    if asked["adapter"] is not None:
        most = next(rank for rank in RANKS if rank >= asked["rank"])
        adapted = {"enable_lora": True, "max_loras": 1, "max_lora_rank": most}
    return vllm.LLM(
        asked["model"],
        dtype="float32",
        enforce_eager=True,
        enable_prefix_caching=False,
        max_model_len=max(64, asked["length"]),
        max_num_seqs=len(asked["prompts"]),
        language_model_only=True,  # without a tower for images, and without the files of its processor
        **adapted,
    )


def answered(engine: Any, asked: dict[str, Any]) -> dict[str, Any]:
    import vllm
    from vllm.lora.request import LoRARequest

    adapter = asked["adapter"]
    request = LoRARequest("adapter", 1, adapter) if adapter is not None else None
    sampling = vllm.SamplingParams(temperature=0, max_tokens=asked["new_tokens"], logprobs=asked["top"])
    prompts = [{"prompt_token_ids": tokens} for tokens in asked["prompts"]]
    made = engine.generate(prompts, sampling, lora_request=request, use_tqdm=False)
    chats = asked["chats"]
    return {
        "answers": [answer(each.outputs[0]) for each in made],
        "chats": chats and [rendered(engine.get_tokenizer(), chat) for chat in chats],
    }


def answer(output: Any) -> dict[str, Any]:
    tops = [{token: each.logprob for token, each in step.items()} for step in output.logprobs]
    return {"tokens": list(output.token_ids), "tops": tops}


def rendered(tokenizer: Any, chat: list[dict[str, str]]) -> list[int]:
    found = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
    return list(found)


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
