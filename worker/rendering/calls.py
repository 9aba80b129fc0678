"""Calls functions with a tokenizer, for a server that must not do it: a template may loop, a text be long."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from core.errors import JobError, TuneryError
from worker.process.limits import limit_memory
from worker.rendering.render_request import CallsRequest
from worker.rendering.row_limits import timed

Call = Callable[[Any], Any]
"""Takes the tokenizer. It is sent as what `pickle` makes of it."""


def answer_calls(channel: Connection, tokenizer: Any, request: CallsRequest) -> None:
    """Send what each call returns, or the error that it raises on purpose.

    Raises EOFError when nobody asks any more.
    """
    too_much = JobError(
        "prompt_too_costly",
        f"The model's chat template and tokenizer take more than {request.seconds} s, or too much memory. "
        "Shorten the prompt, or ask the operator to look at the base model.",
    )
    limit_memory(request.more_bytes)
    calls = iter(channel.recv, None)
    for _, call in timed(enumerate(calls), request.seconds, too_much):
        channel.send(_outcome(call, tokenizer, too_much))


def _outcome(call: Call, tokenizer: Any, too_much: JobError) -> Any:
    try:
        return call(tokenizer)
    except TuneryError as error:
        return error
    except MemoryError:
        return too_much
