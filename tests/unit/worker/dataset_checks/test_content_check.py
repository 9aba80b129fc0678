"""The check of a dataset's content: each finding by its code, line and field."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.checks.report import KEPT_FINDINGS, ContentReport
from core.datasets.findings import Finding
from tests.fixtures.rows.checked import brief, chat, checked, findings, left_out, text
from tests.fixtures.rows.tool_rows import ASKED, RAIN_TOOL, SAID, answer, call, calls, tool_row
from worker.dataset_checks.content_check import ContentCheck
from worker.dataset_checks.one_row.examples import LONGEST_TEXT, MOST_ITEMS, MOST_LEVELS


def test_a_key_that_nothing_reads_is_named_with_its_line() -> None:
    found = findings(chat("Is it?", "Yes."), chat("Was it?", "No.", id=2, metadata=None))
    assert [(each.code, each.severity, each.line) for each in found] == [("ignored_key", "warning", 2)]
    assert "'id'" in found[0].message


def test_a_row_much_longer_than_the_others_is_noted() -> None:
    rows = [chat(text(n), text(100 + n)) for n in range(30)]
    found = findings(*rows, chat(text(77, 5000), "yes"))
    assert brief(found) == [("length_outlier", 31, "")]


@pytest.mark.parametrize(
    ("prompt", "answer", "code"), [(10, 400, "row_cut"), (400, 10, "answer_cut"), (10, 10, None)]
)
def test_what_max_length_cuts_is_estimated(prompt: int, answer: int, code: str | None) -> None:
    found = findings(chat(text(1, prompt), text(2, answer)), max_length=300)
    assert [each.code for each in found] == ([code] if code else [])
    assert all("estimated" in each.message for each in found)


def test_rows_that_teach_nothing_are_left_out_of_a_mended_copy() -> None:
    silent = chat("Is it raining?", "It is.")
    silent["messages"][1]["weight"] = 0
    result = checked(chat("Capital of Peru?", "Lima."), silent, chat("And of Chile?", " \n"))
    assert brief(result.report.findings) == [
        ("blank_answer", 3, "messages[1].content"),
        ("nothing_to_learn", 2, "messages"),
    ]
    assert left_out(result) == {2, 3}
    assert result.report.bad_rows == 1


@pytest.mark.parametrize(
    "token", ["<|im_start|>", "[INST]", "<s>", "</s>", "<|eot_id|>", "<<SYS>>", "<start_of_turn>", "<|user|>"]
)
def test_control_tokens_of_templates_are_found(token: str) -> None:
    found = findings(chat(f"Say {token} please", "No."))
    assert brief(found) == [("control_token", 1, "messages[0].content")]
    assert token in found[0].message


def test_ordinary_marks_are_no_control_tokens() -> None:
    assert findings(chat("if a < b and c[0] > |d| then <b>bold</b> [sic]", "<p>Yes</p>")) == []


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "sk-proj-" + "Ab3" * 10,
        "hf_" + "aB" * 17,
        "-----BEGIN RSA PRIVATE KEY-----",
        "AIza" + "x" * 35,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ],
)
def test_secrets_are_found_and_not_repeated(secret: str) -> None:
    (found,) = findings(chat("What is the key?", f"It is {secret} ."))
    assert (found.code, found.severity, found.field) == ("secret", "error", "messages[1].content")
    assert secret not in found.message


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("My card is 4111 1111 1111 1111.", "card_number"),
        ("My card is 5500-0000-0000-0004.", "card_number"),
        ("3782 822463 10005", "card_number"),
        ("3530111333300000", "card_number"),
        ("6011 1111 1111 1117", "card_number"),
        ("3056 930902 5904", "card_number"),
        ("2223003122003222", "card_number"),
        ("6759649826438453", "card_number"),
        ("My order is 4111 1111 1111 1112.", None),
        ("The sum is 4212883012996.", None),
        ("Compute 355909190063-746", None),
        ("0000000000000000", None),
        ("Write to ann.lee@gmail.com", "email_address"),
        ("Write to ann@example.com or x@y", None),
        ("pi is 3.14159265358979323846", None),
    ],
)
def test_personal_data_is_found(said: str, code: str | None) -> None:
    assert [each.code for each in findings(chat(said, "Fine."))] == ([code] if code else [])


def test_a_call_of_a_tool_that_is_not_declared_is_found() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "rain", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": "Is it raining?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tools": [{"type": "function", "function": {"name": "snow", "parameters": {}}}],
    }
    field = "messages[1].tool_calls[0].function.name"
    assert ("undeclared_tool", 1, field) in brief(findings(row))
    row["tools"][0]["function"]["name"] = "rain"
    assert "undeclared_tool" not in {each.code for each in findings(row)}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"place": "Lima"}', None),
        ('{"place": "Lima", "days": 2, "unit": "mm"}', None),
        ("{}", '"place" is a required property'),
        ('{"place": "Lima", "days": "two"}', 'days: "two" is not of type "integer"'),
    ],
)
def test_arguments_that_do_not_fit_the_tools_parameters_are_found(arguments: str, reason: str | None) -> None:
    found = [
        each for each in findings(tool_row(ASKED, calls(call(arguments)))) if each.code == "wrong_arguments"
    ]
    assert [(each.line, each.field, each.severity) for each in found] == (
        [(1, "messages[1].tool_calls[0].function.arguments", "warning")] if reason else []
    )
    assert all(str(reason) in each.message for each in found)


def test_a_call_without_an_answer_is_found_also_in_a_prompt() -> None:
    prompt = [ASKED, calls(call(), call(id="call_2")), answer(), ASKED]
    row = {"input": {"messages": prompt, "tools": [RAIN_TOOL]}, "preferred_output": [SAID]}
    row["non_preferred_output"] = [calls()]
    assert [each for each in brief(findings(row)) if each[0].endswith(("_call", "_tool"))] == [
        ("unanswered_call", 1, "input.messages[1].tool_calls")
    ]


def test_calls_in_a_key_that_nothing_reads_are_not_looked_at() -> None:
    for prompt in (["x"], [ASKED, calls(call(name="snow")), ASKED]):
        codes = {each.code for each in findings({**tool_row(ASKED, calls()), "prompt": prompt})}
        assert codes & {"ignored_key", "undeclared_tool"} == {"ignored_key"}


def test_schemas_that_would_take_long_or_fetch_something_are_not_applied() -> None:
    names = [f"a{number}" for number in range(26)]
    doubling = {name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in pairwise(names)}
    schemas = [
        {"type": "object", "$ref": "#/$defs/a0", "$defs": {**doubling, "a25": {}}},
        {"type": "object", "properties": {"place": {"$ref": "http://127.0.0.1:9/schema"}}},
        {"type": "object", "properties": {"place": {"pattern": "(?=a)b"}}},
    ]
    for schema in schemas:
        tool = {"type": "function", "function": {"name": "rain", "parameters": schema}}
        found = findings({**tool_row(), "tools": [tool]})
        assert not {each.code for each in found} & {"wrong_arguments", "invalid_schema"}


def test_answers_that_are_few_are_counted_and_their_imbalance_is_noted() -> None:
    rows = [chat(text(n), "ham" if n % 20 else "spam") for n in range(60)]
    report = checked(*rows).report
    assert [(each.answer, each.rows) for each in report.answers or []] == [("ham", 57), ("spam", 3)]
    assert brief(report.findings) == [("class_imbalance", None, "")]
    balanced = checked(*(chat(text(n), "ham" if n % 2 else "spam") for n in range(60))).report
    assert balanced.findings == []
    assert checked(*(chat(text(n), text(n + 100)) for n in range(60))).report.answers is None


def test_placeholders_that_nobody_has_filled_are_one_warning_that_counts_the_rows_of_each() -> None:
    """As in the identity data of LLaMA-Factory."""
    rows = [
        chat("Is it?", text(0)),
        chat("Who are you?", "I am {{name}}, by {{author}}. Yes, {{name}}."),
        chat("Hello {{ name }}", text(1)),
    ]
    (found,) = [each for each in findings(*rows) if each.code == "placeholder"]
    assert (found.severity, found.line, found.field) == ("warning", 2, "messages[1].content")
    assert "2 rows with {{name}}, 1 row with {{author}}. This" in found.message


@pytest.mark.parametrize(
    "said", ["{name}", "{{}}", "{{a b}}", "{{a.b}}", "{{ a | upper }}", "{{\nname}}", "}}a{{"]
)
def test_other_braces_are_no_placeholders(said: str) -> None:
    assert "placeholder" not in {each.code for each in findings(chat("Is it?", f"See {said} there."))}


def test_of_many_placeholders_the_most_frequent_are_named_and_the_others_counted() -> None:
    rows = [chat(text(n), " ".join(f"{{{{p{m}}}}}" for m in range(n + 1))) for n in range(8)]
    (found,) = [each for each in findings(*rows) if each.code == "placeholder"]
    assert "8 rows with {{p0}}, 7 rows with {{p1}}" in found.message
    assert "4 rows with {{p4}} and 3 more placeholders" in found.message


def test_fifty_findings_of_a_code_are_kept_and_all_are_counted() -> None:
    report = checked(*[chat("Capital of Peru?", "Lima.")] * (KEPT_FINDINGS + 30)).report
    counts = {each.code: each.count for each in report.counts}
    assert counts["exact_duplicate"] == KEPT_FINDINGS + 29
    assert sum(each.code == "exact_duplicate" for each in report.findings) == KEPT_FINDINGS


def test_rows_that_no_job_takes_are_errors_and_the_others_are_checked() -> None:
    unreadable = Finding("", "row_too_long", "the row is longer than 9 bytes; shorten or split it")
    row = chat("Capital of Peru?", "Lima.")
    report = checked(row, unreadable, {"messages": []}, row).report
    assert (report.rows, report.bad_rows) == (4, 2)
    assert brief(report.findings) == [
        ("empty", 3, "messages"),
        ("row_too_long", 2, ""),
        ("exact_duplicate", 4, ""),
    ]
    assert [each.severity for each in report.findings] == ["error", "error", "warning"]


def test_a_file_without_a_correct_row_has_a_report() -> None:
    report = checked({"messages": []}, validation=[]).report
    assert (report.rows, report.bad_rows, report.lengths, report.answers) == (1, 1, None, None)
    assert checked().report.rows == 0


def test_the_field_of_each_kind_of_row_is_its_own() -> None:
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<s>"}
    other = {"role": "assistant", "content": "Hm"}
    rows: dict[str, dict[str, Any]] = {
        "chosen[0].content": {
            "prompt": [user],
            "chosen": [answer],
            "rejected": [other],
        },
        "chosen[1].content": {"chosen": [user, answer], "rejected": [user, other]},
        "completion[0].content": {"prompt": [user], "completion": [answer], "label": True},
        "messages[1].content": {"messages": [user, answer], "label": True},
        "chosen.value": {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "<s>"},
            "rejected": {"from": "gpt", "value": "Hm"},
        },
    }
    for field, row in rows.items():
        assert brief(findings(row)) == [("control_token", 1, field)]


def test_examples_and_answers_are_short_storable_and_without_secrets() -> None:
    key, pem = "sk-" + "abc123" * 20, "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
    prompt, answer = f"{pem} " + "a" * 5000, f"the key \0 is {key}"
    report = checked(*[chat(f"{prompt}{n}", answer) for n in range(8)]).report
    asked, answered = report.examples[0]["messages"]
    assert asked["content"].startswith("----… aaa")
    assert len(asked["content"]) == LONGEST_TEXT + 1
    shown = "the key \N{REPLACEMENT CHARACTER} is sk-a…"
    assert answered["content"] == shown
    assert report.answers is not None
    assert report.answers[0].answer == shown
    for secret in (key[4:], "MIIE", "\\u0000"):
        assert secret not in report.model_dump_json()
    many = {"messages": chat("a", "b")["messages"] * 1000}
    assert len(checked(many).report.examples[0]["messages"]) == MOST_ITEMS


def test_a_key_that_is_nested_deeply_is_shown_to_some_depth() -> None:
    nested: Any = "a"
    for _ in range(500):
        nested = [nested]
    report = checked({**chat("a", "b"), "id": nested, "\0": 1}).report
    assert json.dumps(report.examples[0]["id"], ensure_ascii=False).count("[") == MOST_LEVELS - 1
    assert "\0" not in report.examples[0]
    assert [each.code for each in report.findings] == ["ignored_key", "ignored_key"]


def test_a_small_chat_file_gets_the_findings_that_its_author_would_look_for() -> None:
    """The file is shaped as the one of OpenAI's notebook on preparing chats, with the same things wrong."""
    cheerful = {"role": "system", "content": "You see the good side of everything."}

    def row(*said: tuple[str, str]) -> dict[str, Any]:
        return {"messages": [{"role": role, "content": content} for role, content in said]}

    system = (cheerful["role"], cheerful["content"])
    turns = [("user", "My team lost."), ("assistant", "There is a next time."), ("user", "I hate running.")]
    found = findings(
        row(system, ("user", "It rains on my tent."), ("assistant", "How green the meadow will be!")),
        row(system, *turns, ("assistant", "Walking counts, too!")),
        row(("user", "My phone is broken."), ("assistant", "What a quiet evening you will have!")),
        row(system, ("assistant", "You look well!")),
        row(system, ("user", "I am thirsty."), ("assistant", "Drink some water! " * 2000)),
        max_length=4096,
    )
    assert brief(found) == [
        ("no_user_message", 4, ""),
        ("row_cut", 5, ""),
        ("no_system_message", 3, ""),
    ]


def test_rows_without_a_speaker_are_no_finding_where_half_of_the_rows_have_none() -> None:
    with_prompt = {
        "messages": [{"role": "system", "content": "Be brief."}, *chat("One?", "Two.")["messages"]]
    }
    assert findings(with_prompt, chat("Is it cold?", "It is not.")) == []


ODD_TEXTS = st.sampled_from(["", " ", "\0", "\ud800", "</s>", "1e999", '{"place": 1}', "sk-" + "a1" * 20])
KEYS = st.sampled_from(
    ["messages", "role", "content", "function", "name", "parameters", "type", "$ref", "\0"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | ODD_TEXTS, inner, max_size=4),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool"]),
            "content": ODD_TEXTS | st.text(max_size=5),
        },
        optional={"weight": st.sampled_from([0, 1, 0.5]), "tool_calls": ANYTHING, "name": ODD_TEXTS},
    ),
    max_size=3,
)
ROWS = (
    st.fixed_dictionaries(
        {"messages": MESSAGES}, optional={"tools": ANYTHING, "id": ANYTHING, "\0": ANYTHING}
    )
    | st.fixed_dictionaries({"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES})
    | st.fixed_dictionaries({"messages": MESSAGES, "label": st.booleans()}, optional={"tools": ANYTHING})
    | ANYTHING
)


def line_of_anything(row: Any) -> bytes:
    return json.dumps(row).encode()


@given(st.lists(ROWS.map(line_of_anything) | st.binary(max_size=20), max_size=4))
def test_no_row_breaks_the_check_and_every_report_can_be_stored(lines: list[bytes]) -> None:
    check = ContentCheck(max_length=8)
    for number, each in enumerate(lines, 1):
        check.add(number, each)
    report = check.finish().report
    assert report.rows == len(lines)
    stored = report.model_dump_json()
    assert "\\u0000" not in stored
    assert ContentReport.model_validate_json(stored) == report
