"""Puts the chunks of a streamed answer together, so that it is stored like any other."""

from typing import Any

Chunk = dict[str, Any]


def whole_answer(chunks: list[Chunk]) -> dict[str, Any] | None:
    """Return the answer that the chunks are parts of, or None if one of its choices did not end."""
    if not chunks:
        return None
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            _add(choices.setdefault(piece["index"], _empty(piece["index"])), piece)
    ended = [choice for _, choice in sorted(choices.items()) if choice["finish_reason"]]
    if not ended or len(ended) < len(choices):
        return None
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    shared = {name: chunks[0].get(name) for name in ("id", "created", "model", "system_fingerprint")}
    usage = usages[-1] if usages else None
    return {**shared, "object": "chat.completion", "choices": ended, "usage": usage}


def _empty(index: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    message, delta = choice["message"], piece["delta"]
    if delta.get("content") is not None:
        message["content"] = (message["content"] or "") + delta["content"]
    for call in delta.get("tool_calls") or []:
        _add_call(message.setdefault("tool_calls", []), call)
    if logprobs := (piece.get("logprobs") or {}).get("content"):
        choice["logprobs"] = choice["logprobs"] or {"content": [], "refusal": None}
        choice["logprobs"]["content"] += logprobs
    choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Add a piece of a call. The first piece of each call has its id and the function's name."""
    function = piece.get("function") or {}
    if piece["index"] >= len(calls):
        named = {"name": function.get("name") or "", "arguments": ""}
        calls.append({"id": piece.get("id"), "type": "function", "function": named})
    calls[piece["index"]]["function"]["arguments"] += function.get("arguments") or ""
