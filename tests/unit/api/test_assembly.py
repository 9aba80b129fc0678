"""The chunks of a stream, put together, are the answer that would have come whole."""

from typing import Any

from api.stored_completions.assembly import whole_answer

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "m", "system_fingerprint": "fp"}


def chunk(index: int, delta: dict[str, Any], end: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": end, **more}
    return {**HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": {"total_tokens": index}}


def test_texts_and_log_probabilities_of_several_choices_are_joined() -> None:
    logprobs = [{"content": [{"token": token}]} for token in "ab"]
    answer = whole_answer(
        [
            chunk(0, {"role": "assistant", "content": ""}),
            chunk(1, {"content": "x"}),
            chunk(0, {"content": "a"}, logprobs=logprobs[0]),
            chunk(1, {}, "length"),
            chunk(0, {"content": "b"}, "stop", logprobs=logprobs[1]),
            {**HEAD, "choices": [], "usage": {"total_tokens": 9}},
        ]
    )
    assert answer is not None
    first, second = answer["choices"]
    assert (first["message"]["content"], first["finish_reason"]) == ("ab", "stop")
    assert first["logprobs"]["content"] == [{"token": "a"}, {"token": "b"}]
    assert (second["message"]["content"], second["finish_reason"], second["logprobs"]) == (
        "x",
        "length",
        None,
    )
    assert (answer["object"], answer["usage"], answer["id"]) == (
        "chat.completion",
        {"total_tokens": 9},
        "chatcmpl-1",
    )


def test_calls_are_joined_by_their_index() -> None:
    def call(index: int, arguments: str, **head: Any) -> dict[str, Any]:
        function = {"arguments": arguments, **({"name": "f"} if head else {})}
        return {"tool_calls": [{"index": index, "function": function, **head}]}

    pieces = [call(0, "{", id="a", type="function"), call(0, "}"), call(1, "[]", id="b", type="function")]
    answer = whole_answer([*(chunk(0, piece) for piece in pieces), chunk(0, {}, "tool_calls")])
    assert answer is not None
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert [(each["id"], each["function"]["arguments"]) for each in message["tool_calls"]] == [
        ("a", "{}"),
        ("b", "[]"),
    ]


def test_an_answer_that_ended_early_is_none() -> None:
    assert whole_answer([]) is None
    assert whole_answer([chunk(0, {"content": "a"}, "stop"), chunk(1, {"content": "b"})]) is None
