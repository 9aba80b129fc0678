"""What a Python grader is given, what it may answer, and how its errors read, in both sandboxes."""

import threading
import time
from typing import Any

import psutil
import pytest

from core.errors import InvalidRequest
from core.graders.grade import grade
from core.graders.python.running import wrong_with
from core.graders.python.sandbox import GraderFailed, Runner, Sandbox, SandboxFailed
from core.graders.sample import Sample
from core.graders.schemas import MAX_GIVEN, MultiGrader, PythonGrader
from tests.fixtures.service.api import wait_for
from tests.fixtures.work.hostile_graders import source
from tests.fixtures.work.sandboxes import ONE, RUNNERS, graded, sandbox_of

pytestmark = pytest.mark.slow


@pytest.fixture(params=RUNNERS)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    runner: Runner = request.param
    return sandbox_of(runner)


def python(code: str, name: str = "code") -> PythonGrader:
    return PythonGrader(type="python", name=name, source=code)


def test_a_grader_is_given_the_sample_and_the_item(sandbox: Sandbox) -> None:
    code = source(
        """
assert sample["output_text"] == '{"city": "Köln 🙂"}'
assert sample["output_json"] == {"city": "Köln 🙂"}
assert sample["choices"][0]["message"] == {"role": "assistant", "content": sample["output_text"]}
assert sample["output_tools"] == []
assert item == {"answer": "Köln", "list": [1, 2.5, None, True], "big": 12345678901234567890, "é": {}}
return len(item["list"]) + 0.25"""
    )
    item = {"answer": "Köln", "list": [1, 2.5, None, True], "big": 12345678901234567890, "é": {}}
    assert graded(sandbox, code, '{"city": "Köln 🙂"}', item) == 4.25
    looks = source("return 1 if sample['output_json'] is None and item is None else 0")
    for text in ("no JSON", "", "[" * 50_000, "{"):
        assert graded(sandbox, looks, text) == 1


@pytest.mark.parametrize(
    ("value", "score"), [("0.5", 0.5), ("1", 1), ("-3", -3), ("10**20", 1e20), ("-0.0", 0)]
)
def test_a_number_is_a_score(sandbox: Sandbox, value: str, score: float) -> None:
    assert graded(sandbox, source(f"return {value}")) == score


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("None", "type NoneType"),
        ("'1'", "type str"),
        ("True", "type bool"),
        ("[1.0]", "type list"),
        ("{}", "type dict"),
        ("grade", "type function"),
        ("1j", "complex"),
        ("float('nan')", "nan, which is not a finite number"),
        ("float('inf')", "inf, which is not a finite number"),
        ("-float('inf')", "-inf, which is not a finite number"),
        ("10**400", "an integer that is too large"),
        ("-10**400", "an integer that is too large"),
        ("'x' * 10**7", "type str"),
    ],
)
def test_what_is_no_finite_number_fails_the_sample(sandbox: Sandbox, value: str, told: str) -> None:
    with pytest.raises(GraderFailed, match=told):
        graded(sandbox, source(f"return {value}"))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("x = 1\n\nreturn 1 / 0", "line 4: ZeroDivisionError: division by zero"),
        ("return item['answer']", "line 2: KeyError: "),
        ("raise ValueError('a\\0b\\n\\x1b[31mc')", "line 2: ValueError: a b  [31mc"),
        ("raise ValueError(chr(0xD800))", "line 2: ValueError: "),
        ("assert 2 == 3", "line 2: AssertionError"),
        (
            "def inner():\n    return unknown\nreturn inner()",
            "line 3: NameError: name 'unknown' is not defined",
        ),
        ("import numpy", "line 2: ModuleNotFoundError: No module named 'numpy'"),
    ],
)
def test_an_error_names_the_line_of_the_clients_source(sandbox: Sandbox, body: str, told: str) -> None:
    with pytest.raises(GraderFailed) as failed:
        graded(sandbox, source(body), item={})
    assert str(failed.value).isprintable()
    assert str(failed.value).startswith(told)
    assert "/" not in str(failed.value)


def test_an_error_is_cut_off(sandbox: Sandbox) -> None:
    with pytest.raises(GraderFailed) as failed:
        graded(sandbox, source("raise ValueError('x' * 10**6)"))
    assert len(str(failed.value)) == 500
    assert str(failed.value).endswith("…")


def test_what_is_printed_is_dropped(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        graded(sandbox, source("import sys\nprint('x' * 10**6)\nprint('y', file=sys.stderr)\nreturn 1")) == 1
    )
    assert capfd.readouterr() == ("", "")


def test_the_same_sample_gets_the_same_score(sandbox: Sandbox) -> None:
    """A job that shall be deterministic is so with graders that draw numbers or go through sets."""
    words = "words = list({'a', 'b', 'c', 'd', 'e'})"
    code = source(f"import random\n{words}\nreturn random.random() + 10 * words.index('a')")
    assert graded(sandbox, code) == graded(sandbox, code)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1", "defines no function 'grade"),
        ("", "defines no function 'grade"),
        ("grade = 5", "defines no function 'grade"),
        ("def grade(sample):\n    return 1", "line 1: 'grade' must take two arguments"),
        ("\ndef grade(a, b, c):\n    return 1", "line 2: 'grade' must take two arguments"),
        ("def grade(a, b, *, c):\n    return 1", "line 1: 'grade' must take two arguments"),
        ("async def grade(sample, item):\n    return 1", "line 1: 'grade' must be an ordinary function"),
        ("def grade(sample, item):\n  return (1", "line 2: "),
        ("def grade(sample, item):\nreturn 1", "line 2: "),
        ("x = 1 / 0\n" + ONE, "line 1: ZeroDivisionError"),
        ("import numpy\n" + ONE, "line 1: ModuleNotFoundError: No module named 'numpy'"),
        ("while True:\n    pass\n" + ONE, "it took longer than"),
        ("x = 'x' * 10**12\n" + ONE, "it needed more than 128 MiB of memory"),
        ("return 1\n" + ONE, "line 1: SyntaxError"),
        ("\0" + ONE, "null bytes"),
        ("x = " + "(" * 50_000 + ")" * 50_000 + "\n" + ONE, "nest"),
        ("x = " + "-" * 100_000 + "1\n" + ONE, "."),
        ("x = 1" + " + 1" * 60_000 + "\n" + ONE, "."),
    ],
    ids=lambda value: value[:30],
)
def test_a_source_that_defines_no_grader_is_refused_with_its_line(
    sandbox: Sandbox, code: str, told: str
) -> None:
    wrong = wrong_with(sandbox, code)
    assert wrong is not None
    assert told in wrong or told == "."
    assert "/" not in wrong


@pytest.mark.parametrize(
    "code",
    [
        ONE,
        "def grade(sample: dict, item: dict) -> float:\n    return 1.0\n# the end",
        "def grade(sample, item, strict=False, *rest, more=1, **others):\n    return 1",
        "def grade(*both):\n    return 1",
        "import re, json, math\nWORD = re.compile('a+')\n" + ONE,
        "def grade(a):\n    return 1\n" + ONE,
        ONE + "\n" + "# é\n" * 40_000,
    ],
    ids=lambda value: value[:30],
)
def test_a_source_that_defines_a_grader_is_taken(sandbox: Sandbox, code: str) -> None:
    assert wrong_with(sandbox, code) is None
    assert graded(sandbox, code) == 1


def test_monty_refuses_what_it_does_not_know_before_it_runs() -> None:
    code = "def grade(sample, item):\n    def numbers():\n        yield 1\n    return sum(numbers())"
    assert "line 3: NotImplementedError" in str(wrong_with(sandbox_of("monty"), code))
    assert wrong_with(sandbox_of("bubblewrap"), code) is None


def test_cpython_has_its_standard_library() -> None:
    body = """
import base64, collections, csv, datetime, decimal, difflib, fractions, functools, hashlib, heapq, html
import io, itertools, json, math, operator, random, re, sqlite3, statistics, string, struct, tempfile
import textwrap, tomllib, unicodedata
import xml.etree.ElementTree, zlib, zoneinfo
rows = sqlite3.connect(":memory:").execute("select 1 union select 2").fetchall()
with tempfile.TemporaryFile() as file:
    file.write(b"x")
return len(rows) + difflib.SequenceMatcher(None, "abc", "abd").ratio()"""
    assert graded(sandbox_of("bubblewrap"), source(body)) == pytest.approx(2 + 2 / 3)


def test_python_graders_are_part_of_a_formula(sandbox: Sandbox) -> None:
    parts: dict[str, Any] = {
        "code": {"type": "python", "name": "code", "source": source("return len(sample['output_text'])")},
        "same": {"type": "string_check", "name": "same", "input": "a", "reference": "a", "operation": "eq"},
    }
    formula = {
        "type": "multi",
        "name": "all",
        "graders": parts,
        "calculate_output": "code * 10 + same + judge",
    }
    formula["graders"] = {
        **parts,
        "judge": {"type": "score_model", "name": "judge", "model": "m", "input": []},
    }
    made = grade(MultiGrader.model_validate(formula), {}, Sample("abc"), {"judge": 0.5}, sandbox)
    assert (made.reward, made.fault) == (31.5, None)
    assert made.scores == {"code": 3, "same": 1, "judge": 0.5}


def test_a_part_that_fails_fails_the_whole_and_is_named(sandbox: Sandbox) -> None:
    parts = {"a": python(ONE, "first"), "b": python(source("return None"), "second")}
    made = grade(
        MultiGrader(type="multi", name="all", graders=parts, calculate_output="a + b"),
        {},
        Sample(""),
        sandbox=sandbox,
    )
    assert (made.reward, made.fault) == (0, "python_grader_runtime_error")
    assert made.details == "second: it returned a value of the type NoneType, not a number"


def test_all_python_graders_of_a_sample_share_the_time() -> None:
    sandbox = sandbox_of("monty", seconds=0.6)
    slow = source("while True:\n    pass")
    parts = {f"g{number}": python(ONE if number < 3 else slow, f"g{number}") for number in range(12)}
    grader = MultiGrader(type="multi", name="all", graders=parts, calculate_output="g1")
    began = time.monotonic()
    made = grade(grader, {}, Sample(""), sandbox=sandbox)
    assert made.details is not None
    assert made.details.startswith("g3: it took longer than 0.")
    assert time.monotonic() - began < 30


def test_a_sandbox_that_fails_is_not_the_codes_fault() -> None:
    sandbox_of("bubblewrap")
    with pytest.raises(SandboxFailed, match="sandbox_not_started"):
        graded(Sandbox("bubblewrap", seconds=1e20), ONE)


def test_a_process_of_monty_that_dies_fails_one_sample() -> None:
    sandbox = sandbox_of("monty", seconds=30)
    assert graded(sandbox, ONE) == 1
    me = psutil.Process()

    def kill() -> None:
        wait_for(lambda: any(each.cpu_times().user > 0.1 for each in me.children() if each.name() == "monty"))
        for each in me.children():
            if each.name() == "monty":
                each.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(SandboxFailed, match="sandbox_crashed"):
        graded(sandbox, source("while True:\n    pass"))
    killer.join()
    assert graded(sandbox, ONE) == 1


def test_a_sample_and_an_item_that_are_too_long_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"at most {MAX_GIVEN} characters"):
        grade(python(ONE), {"text": "x" * MAX_GIVEN}, Sample(""))
