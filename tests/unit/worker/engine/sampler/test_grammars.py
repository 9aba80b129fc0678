"""Structured answers always parse, and a grammar that is too complex is refused."""

import json
import re
from typing import Any

import pytest
import torch
from llguidance import LLParserLimits

from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.sampling import ask, run, text
from tests.fixtures.models.tiny import save_model, tiny_llama
from tests.fixtures.models.tiny import text as text_tokenizer
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler import grammars
from worker.engine.sampler.grammars import LONGEST_SOURCE
from worker.engine.sampler.requests import Grammar, RequestRefused
from worker.engine.sampler.sampler import Sampler

SCHEMA = {
    "type": "object",
    "properties": {
        "size": {"enum": ["small", "large"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["size", "count", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def text_base(tmp_path_factory: pytest.TempPathFactory) -> ResidentBase:
    folder = tmp_path_factory.mktemp("text")
    save_model(tiny_llama(), folder, text_tokenizer)
    return ResidentBase(TINY, folder, "0" * 64, torch.device("cpu"))


@pytest.fixture(scope="module")
def sampler(text_base: ResidentBase) -> Sampler:
    return Sampler(text_base)


def answers(sampler: Sampler, grammar: Grammar, **sampling: Any) -> list[str]:
    options = {"temperature": 1.5, "max_tokens": 300, **sampling}
    pieces = run(sampler, [ask(f"{seed}", [5, 6], None, grammar, seed=seed, **options) for seed in range(6)])
    assert {each[-1].finish_reason for each in pieces.values()} == {"stop"}
    return [text(each) for each in pieces.values()]


def test_answers_by_a_json_schema_parse_and_obey_it(sampler: Sampler) -> None:
    for answer in answers(sampler, Grammar("json_schema", json.dumps(SCHEMA))):
        found = json.loads(answer)
        assert found.keys() == {"size", "count", "tags"}
        assert found["size"] in ("small", "large")
        assert 0 <= found["count"] <= 99
        assert 1 <= len(found["tags"]) <= 3


def test_answers_in_json_parse_whatever_they_say(sampler: Sampler, text_base: ResidentBase) -> None:
    quick_to_end = {text_base.tokenizer.encode(letter)[0]: 4.0 for letter in '}"'}
    for answer in answers(sampler, Grammar("json_object"), logit_bias=quick_to_end):
        assert isinstance(json.loads(answer), dict)


@pytest.mark.parametrize(
    "grammar",
    [Grammar("regex", r"[a-c]{3}-\d{2}"), Grammar("lark", 'start: /[a-c]{3}/ "-" /[0-9]{2}/')],
    ids=["regex", "lark"],
)
def test_answers_match_an_expression(sampler: Sampler, grammar: Grammar) -> None:
    for answer in answers(sampler, grammar, ignore_eos=True):
        assert re.fullmatch(r"[a-c]{3}-\d{2}", answer)


EXPLODING = {"type": "array", "items": {"anyOf": [{"const": f"{n:04}" * 20} for n in range(900)]}}
NESTED: dict[str, Any] = {"type": "string"}
for _ in range(12):
    NESTED = {"type": "object", "properties": {f"p{n}": NESTED for n in range(2)}}


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("json_schema", json.dumps(EXPLODING)),
        Grammar("json_schema", json.dumps(NESTED)),
        Grammar("json_schema", '{"type": "nothing"}'),
        Grammar("json_schema", '{"type":'),
        Grammar("regex", "(a"),
        Grammar("lark", "start: nowhere"),
        Grammar("regex", "a" * (LONGEST_SOURCE + 1)),
    ],
    ids=["many", "nested", "unknown type", "no json", "open", "undefined", "long"],
)
def test_a_grammar_that_is_wrong_or_explodes_is_refused(sampler: Sampler, grammar: Grammar) -> None:
    with pytest.raises(RequestRefused, match="grammar") as refused:
        sampler.submit(ask("a", [5], None, grammar))
    assert refused.value.param == "grammar"
    assert sampler.idle


def test_a_grammar_that_explodes_in_the_middle_ends_its_own_answer_with_the_reason(
    sampler: Sampler, text_base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammars, "LIMITS", LLParserLimits(max_lexer_states=100, verbose_errors=False))
    grammar = Grammar("regex", "(.*a.{300}b)?")
    letters = {text_base.tokenizer.encode(letter)[0]: 50.0 for letter in "ax"}
    wild = {"max_tokens": 200, "temperature": 1.5, "logit_bias": letters}
    pieces = run(sampler, [ask("bad", [5], None, grammar, **wild), ask("good", [5, 6])])
    assert pieces["bad"][-1].finish_reason == "error"
    assert "too many states" in str(pieces["bad"][-1].error)
    assert pieces["good"][-1].finish_reason in ("stop", "length")
    assert sampler.load.pool_share == 0


def test_a_tokenizer_without_bytes_refuses_grammars(base: ResidentBase) -> None:
    with pytest.raises(RequestRefused, match="tokenizer"):
        Sampler(base).submit(ask("a", [5], None, Grammar("json_object")))


def test_tokens_have_the_bytes_of_their_text(
    sampler: Sampler, text_base: ResidentBase, base: ResidentBase
) -> None:
    tokens = text_base.tokenizer.encode("é!")
    assert b"".join(map(sampler.token_bytes, tokens)) == "é!".encode()
    assert Sampler(base).token_bytes(7) == b"<7>"
