"""Calls tools whose calls a URL answers, in Azure's form.

What the tool makes of the arguments is between the model and the tool: the model reads a refusal as output.
"""

import json
from typing import Any

from core.endpoints.asking import Credentials, Endpoints, NotUsable, Question, Refused
from core.endpoints.tools import EndpointTool, ToolCall
from core.errors import TuneryError
from core.ids import new_id
from core.strict_json import storable

NOT_THE_MODELS = (401, 403, 404, 405)  # these say that the address or the headers are wrong
MAX_ANSWER = 1024**2  # bytes
MAX_OUTPUT = 100_000  # characters
MAX_REFUSAL = 2_000  # characters of the body of a refusal that the model is shown


class ToolFailed(TuneryError):
    """The tool gave no output for a call. `str()` is a sentence that says why."""


async def call_tool(
    endpoints: Endpoints,
    tool: EndpointTool,
    credentials: Credentials,
    call: ToolCall,
    item: Any,
    trace_id: str,
) -> str:
    """Return the output of a call, as the model is shown it. Raises ToolFailed.

    If the tool refuses the call with a status that is about the call, the output is JSON with its `error`.
    All calls of an answer have the same `trace_id`, and so have the requests to the answer's graders.
    """
    body = {
        "type": "function_call",
        "id": call.id,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "trace_id": trace_id,
        "item": item,
    }
    question = Question(new_id("call_"), body, MAX_ANSWER)
    try:
        return _output_of(await endpoints.ask(tool, credentials, question), call)
    except Refused as refused:
        if refused.status in NOT_THE_MODELS:
            raise ToolFailed(f"The tool '{tool.name}' gave no output: {refused}.") from refused
        return _shown(refused)
    except NotUsable as error:
        raise ToolFailed(f"The tool '{tool.name}' gave no output: {error}.") from error


def _output_of(answer: Any, call: ToolCall) -> str:
    """Return the output in an answer. Raises NotUsable."""
    if not isinstance(answer, dict) or "output" not in answer:
        raise NotUsable("its answer is not a JSON object with an 'output'")
    if answer.get("type", "function_call_output") != "function_call_output":
        raise NotUsable("the 'type' of its answer is not 'function_call_output'")
    if answer.get("call_id", call.id) != call.id:
        raise NotUsable("the 'call_id' of its answer is that of another call")
    output = answer["output"]
    try:
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    except RecursionError as error:
        raise NotUsable("its 'output' is nested too deeply") from error
    if len(text) > MAX_OUTPUT:
        raise NotUsable(f"its 'output' has more than {MAX_OUTPUT:,} characters")
    return storable(text)  # tokenizers refuse half of a surrogate pair, as Postgres does


def _shown(refused: Refused) -> str:
    """Return what the model reads of a refusal."""
    text = refused.body.decode(errors="replace").strip()
    return json.dumps({"error": storable(text[:MAX_REFUSAL]) or str(refused)}, ensure_ascii=False)
