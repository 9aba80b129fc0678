"""Asks a model for its answer to a chat."""

from functools import partial
from typing import Any

from core.serving.paths import CHAT
from core.serving.served_model import ServedModel
from worker.grading.asking import Asking
from worker.grading.named_images import with_named_images
from worker.grading.usage import UsageSums


async def answer(
    asking: Asking, served: ServedModel, model: str, asked: dict[str, Any], usage: UsageSums
) -> dict[str, Any]:
    """Return a model's answer to a chat, as a sample. Raises what `Asking.ask` raises."""
    found = await asking.ask(CHAT, served, asked, partial(usage.add_answer, model))
    choice = found["choices"][0]
    message = {key: value for key, value in choice["message"].items() if value is not None}
    counted = found["usage"]
    cached = (counted.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input": with_named_images(asked["messages"]),
        "output": [message],
        "finish_reason": choice["finish_reason"],
        "model": model,
        "usage": {
            **{name: counted[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
            "cached_tokens": cached,
        },
        "seed": asked["seed"],
        "temperature": asked["temperature"],
        "top_p": asked.get("top_p", 1.0),
        "max_completion_tokens": asked.get("max_completion_tokens"),
        "error": None,
    }
