"""The events of a stream, from a server to a client.

The server tells the tokens with every event, so that they are known whenever the stream ends. The client gets
them as it has asked for them.
"""

import json
from typing import Any

from core.serving.event_stream import DONE
from core.serving.schemas.sampling import StreamOptions
from core.serving.stored_completions import MAX_BYTES

# The events of an answer that shall be stored. Each has some 200 bytes that are not stored
MOST_KEPT_BYTES = 8 * MAX_BYTES


class Passage:
    """One stream on its way through. `usage` are the tokens up to the last event."""

    def __init__(self, options: StreamOptions | None, *, keeps: bool) -> None:
        """`keeps` says whether to keep the events, which is for an answer that shall be stored."""
        options = options or StreamOptions()
        self._with_usage, self._with_all = bool(options.include_usage), bool(options.continuous_usage_stats)
        self._room = MOST_KEPT_BYTES if keeps else 0
        self.usage: dict[str, Any] | None = None
        self.events: list[bytes] = []
        self.over = False

    def hand_on(self, events: list[bytes]) -> bytes:
        """Return what the client gets of these events of the server."""
        return b"".join(map(self._one, events))

    def _one(self, event: bytes) -> bytes:
        if event == DONE:
            self.over = True
            return _framed(event)
        chunk: dict[str, Any] = json.loads(event)
        if "error" in chunk:
            self.over = True
            return _framed(event)
        self._keep(event)
        usage = chunk.get("usage")
        if usage is not None:
            self.usage = usage
            if not chunk["choices"]:  # the last event, which OpenAI's option asks for
                return _framed(event) if self._with_usage else b""
        if self._with_all:
            return _framed(event)
        chunk.pop("usage", None)
        if self._with_usage:
            chunk["usage"] = None
        return _framed(json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode())

    def _keep(self, event: bytes) -> None:
        """Keep the event if the answer shall be stored. Keep none of an answer that is too long for it."""
        if self._room:
            self._room = max(0, self._room - len(event))
            self.events.append(event)
            if not self._room:
                self.events.clear()


def asked_of_server() -> dict[str, bool]:
    """Return the options with which a server tells the tokens at every event, and at the end."""
    return {"include_usage": True, "continuous_usage_stats": True}


def _framed(event: bytes) -> bytes:
    return b"data: " + event + b"\n\n"
