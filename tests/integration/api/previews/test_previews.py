"""Previews of rows: the tokens of training, by a server, for files of any kind and format."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from transformers import AutoTokenizer

from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.processes import named
from tests.fixtures.processes.tasks import WarmTasks, variables_of
from tests.fixtures.rows.parquet import long_list, parquet
from tests.fixtures.rows.tool_rows import tool_row
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for
from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.service.shell import Shell
from worker.rendering.render import Rendering
from worker.server.previews import MOST_WAITING

PROGRAM = "worker.rendering.render_process"
BLANK_BYTES = 400 * 1024**2

CHAT: Any = {
    "messages": [
        {"role": "user", "content": "Hëllo"},
        {"role": "assistant", "content": "Hi!", "weight": 0.5},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "See you."},
    ]
}
PAIR: Any = {
    "prompt": CHAT["messages"][:1],
    "chosen": [{"role": "assistant", "content": "Good day."}],
    "rejected": [{"role": "assistant", "content": "What?"}],
}
SHOWN = (
    "<|im_start|>user\nHëllo<|im_end|>\n<|im_start|>assistant\n⟦Hi!<|im_end|>⟧×0.5\n"
    "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n⟦See you.<|im_end|>⟧\n"
)


@pytest.fixture(scope="module")
def tenant(chat_api: Api, server: ServerProcess) -> Tenant:
    return chat_api.tenant()


def content(*rows: Any) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in rows)


def asked(tenant: Tenant, file_id: str, **body: Any) -> Any:
    return tenant.http.post(f"/v1/files/{file_id}/preview", json={"model": TINY, **body})


def shown(tenant: Tenant, file_id: str, **body: Any) -> list[dict[str, Any]]:
    answer = asked(tenant, file_id, **body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rows"]
    return found


def learnt(row: dict[str, Any]) -> list[list[str]]:
    return [[part["text"] for part in each["segments"] if part["learnt"]] for each in row["conversations"]]


def test_a_preview_has_the_tokens_and_weights_of_training(tenant: Tenant, serving: Serving) -> None:
    file_id = tenant.upload(content(*[CHAT] * 11))
    (row,) = shown(tenant, file_id, lines=[11])
    tokenizer = AutoTokenizer.from_pretrained(serving.folder / "model")
    (trained,) = Rendering(tokenizer, 512, "training_file").render([(11, CHAT)])
    (conversation,) = row["conversations"]
    segments = conversation["segments"]
    assert trained.weights_L is not None
    assert [token for part in segments for token in part["token_ids"]] == trained.tokens_L.tolist()
    weights = np.repeat([part["weight"] for part in segments], [part["tokens"] for part in segments])
    assert np.array_equal(weights, trained.weights_L)
    assert (row["line"], row["is_learnt"], row["error"]) == (11, True, None)
    assert conversation["learnt_tokens"] == trained.supervised


def test_rows_of_two_answers_and_of_other_formats_are_shown(tenant: Tenant) -> None:
    pairs = tenant.upload(content(*[PAIR] * 10))
    first, second = shown(tenant, pairs, lines=[2, 1])
    assert (first["line"], second["line"]) == (2, 1)
    assert learnt(first) == [["Good day.<|im_end|>"], ["What?<|im_end|>"]]
    assert [each["desirable"] for each in first["conversations"]] == [True, False]
    table = tenant.upload(b"prompt,completion\nHello,Hi!\nBye,See you.\n", "user_data", "table.csv")
    (row,) = shown(tenant, table, lines=[3])
    assert learnt(row) == [["See you.<|im_end|>"]]


def test_rows_of_an_array_on_one_line_are_shown_by_their_numbers(tenant: Tenant) -> None:
    others = [{"messages": [CHAT["messages"][0], {"role": "assistant", "content": f"{n}"}]} for n in range(4)]
    file_id = tenant.upload(json.dumps(others).encode(), "user_data", "rows.json")
    answer = asked(tenant, file_id, lines=[3, 1, 9]).json()
    assert answer["numbered_by"] == "row"
    third, first, missing = answer["rows"]
    assert (learnt(third), learnt(first)) == ([["2<|im_end|>"]], [["0<|im_end|>"]])
    assert missing["error"]["message"] == "The file has no row 9."


@pytest.mark.parametrize("kept_as", ["lines", "array"])
def test_a_row_that_the_template_cannot_hold_says_why_and_leaves_its_place_to_whoever_shows_it(
    tenant: Tenant, kept_as: str
) -> None:
    rows = [CHAT, tool_row()]
    content_of = {"lines": content(*rows), "array": json.dumps(rows).encode()}
    (row,) = shown(tenant, tenant.upload(content_of[kept_as], "user_data", f"rows.{kept_as}"), lines=[2])
    assert (row["line"], row["error"]["code"]) == (2, "chat_template_without_tools")
    assert row["error"]["message"].startswith("The row has tools or calls of tools, and the chat template")


def test_rows_that_no_job_takes_say_why_and_the_others_are_shown(tenant: Tenant) -> None:
    file_id = tenant.upload(content(CHAT, {"messages": []}, b"{", CHAT), "user_data")
    rows = shown(tenant, file_id, lines=[1, 2, 3, 4, 9])
    codes = [row["error"] and row["error"]["code"] for row in rows]
    assert codes == [None, "empty", "invalid_json", None, "no_such_line"]
    assert rows[1]["error"]["message"].startswith("No job takes the row: messages: ")


def test_a_limit_cuts_as_a_job_would(tenant: Tenant) -> None:
    file_id = tenant.upload(content(*[CHAT] * 10))
    answer = asked(tenant, file_id, max_length=8).json()
    (row,) = answer["rows"]
    assert (answer["max_length"], row["is_learnt"], row["conversations"][0]["tokens"]) == (8, False, 8)
    assert row["conversations"][0]["cut_tokens"] > 8
    refusal(asked(tenant, file_id, max_length=513), 400, "max_length")


def test_what_does_not_exist_is_named(chat_api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload(content(*[CHAT] * 10))
    refusal(asked(tenant, file_id, model="no-such-model"), 400, "model", "model_not_found")
    refusal(asked(tenant, file_id, lines=[]), 400, "lines")
    refusal(asked(tenant, file_id, lines=[0]), 400, "lines.0")
    refusal(asked(chat_api.tenant(), file_id), 404, "id", "file_not_found")
    image = tenant.upload(b"\xff\xfe\0\0 not text", "user_data", "image.bin")
    assert shown(tenant, image)[0]["error"]["code"] == "utf16"


def test_the_command_marks_what_is_learnt(chat_api: Api, tenant: Tenant, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(content(CHAT, CHAT))
    tunery = Shell(tmp_path, {"TUNERY_BASE_URL": chat_api.url, "TUNERY_API_KEY": tenant.key})
    ended = tunery.run("files", "preview", "train.jsonl", "--model", TINY, "--line", "2")
    assert (ended.returncode, ended.stdout) == (0, SHOWN)
    assert "line 2: " in ended.stderr
    assert " learnt" in ended.stderr
    (row,) = tunery.json("files", "preview", "train.jsonl", "--model", TINY)["rows"]
    assert row["line"] == 1


def test_a_conversion_shows_its_first_rows_as_a_base_model_sees_them(
    chat_api: Api, tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("question,answer\nHello,Hi!\nBye,See you.\n")
    tunery = Shell(tmp_path, {"TUNERY_BASE_URL": chat_api.url, "TUNERY_API_KEY": tenant.key})
    with WarmTasks(chat_api.sessions, ["conversion"], variables_of(chat_api.settings, home=tmp_path)):
        ended = tunery.run("files", "convert", "train.csv", "--model", TINY)
    assert ended.returncode == 0, ended.stderr
    assert "<|im_start|>assistant\n⟦Hi!<|im_end|>⟧" in ended.stdout
    assert "⟦See you.<|im_end|>⟧" in ended.stdout


def endless(tenant: Tenant) -> str:
    """Upload a small file that takes long to read: blank lines, which compress well."""
    return tenant.upload(gzip.compress(b"\n" * BLANK_BYTES), "user_data", "blank.jsonl.gz")


def finding(server: ServerProcess) -> list[psutil.Process]:
    """Return the processes that read a file for the server."""
    return [each for renders in named(PROGRAM, server.process.children()) for each in renders.children()]


def test_a_hostile_file_takes_the_memory_of_a_process_that_ends_and_not_of_the_server(
    tenant: Tenant, server: ServerProcess
) -> None:
    shown(tenant, tenant.upload(content(*[CHAT] * 10)))
    bomb = parquet({name: long_list(15_000_000) for name in ("messages", "tools", "chosen", "rejected")})
    assert len(bomb) < 20_000
    file_id = tenant.upload(bomb, "user_data", "bomb.parquet")
    before = peak(server)
    refusal(asked(tenant, file_id), 400, "file_id", "too_much_memory")
    assert peak(server) - before < 64 * 1024**2
    wait_for(lambda: not finding(server))


def peak(server: ServerProcess) -> int:
    """Return the most memory that the server has had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def test_lists_that_could_fill_the_memory_are_refused_by_the_footer(tenant: Tenant) -> None:
    columns = ("messages", "tools", "chosen", "rejected", "prompt")
    bomb = parquet({name: long_list(15_000_000) for name in columns})
    answer = asked(tenant, tenant.upload(bomb, "user_data", "bomb.parquet"))
    assert "smaller row groups" in refusal(answer, 400, "file_id", "too_large_expanded")["message"]


def test_the_processes_of_previews_have_no_secrets(tenant: Tenant, server: ServerProcess) -> None:
    shown(tenant, tenant.upload(content(*[CHAT] * 10)))
    for renders in named(PROGRAM, server.process.children()):
        assert not {"TUNERY_SECRET_KEYS", "AWS_SECRET_ACCESS_KEY"} & renders.environ().keys()


def test_a_preview_ends_when_its_client_leaves(tenant: Tenant, server: ServerProcess) -> None:
    file_id = endless(tenant)
    with pytest.raises(httpx.ReadTimeout):
        tenant.http.post(
            f"/v1/files/{file_id}/preview", json={"model": TINY, "lines": [2**31 - 1]}, timeout=1
        )
    wait_for(lambda: server.state()["requests"] == 0, 5)
    wait_for(lambda: not finding(server), 5)


def test_a_project_has_one_preview_at_once_and_others_have_theirs(
    chat_api: Api, tenant: Tenant, server: ServerProcess
) -> None:
    file_id = endless(tenant)
    other = chat_api.tenant()
    small = other.upload(content(*[CHAT] * 10))

    def long() -> httpx.Response | None:
        with suppress(httpx.ReadTimeout):
            return tenant.http.post(
                f"/v1/files/{file_id}/preview", json={"model": TINY, "lines": [2**31 - 1]}, timeout=3
            )
        return None

    with ThreadPoolExecutor(2 + MOST_WAITING) as pool:
        asking = [pool.submit(long) for _ in range(2 + MOST_WAITING)]
        wait_for(lambda: server.state()["requests"] == 1 + MOST_WAITING)
        assert len(finding(server)) == 1
        assert shown(other, small)[0]["error"] is None
        refused = [answer for each in asking if (answer := each.result()) is not None]
    assert [answer.status_code for answer in refused] == [429]
    assert int(refused[0].headers["retry-after"]) > 0


def test_previews_and_prompts_share_one_process_that_renders(tenant: Tenant, server: ServerProcess) -> None:
    shown(tenant, tenant.upload(content(*[CHAT] * 10)))
    assert server.chat().status_code == 200
    assert len(named(PROGRAM, server.process.children())) == 1
