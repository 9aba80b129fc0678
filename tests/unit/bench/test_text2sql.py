"""The task text2sql: SQL is rewarded by what it finds, and cannot harm who executes it."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.peers.rewards import Row, reward_function
from bench.reinforce.endpoints import HOST, offered
from bench.reinforce.ours import lines
from bench.reinforce.page import warm_up_text
from bench.reinforce.tasks import execution, text2sql
from bench.reinforce.tasks.task import as_prompt
from bench.training.workloads import chat
from core.egress import Egress
from core.endpoints.asking import Credentials, Endpoints
from core.graders.endpoint import score
from core.graders.sample import Sample
from core.graders.schemas import EndpointGrader

SCHEMA = "CREATE TABLE games (team VARCHAR, city VARCHAR, points INTEGER)"
RIGHT = 'SELECT team FROM games WHERE city = "oslo" AND points > 7'
ITEM = {"schema": SCHEMA, "sql": RIGHT}
SHOP = {
    "schema": "CREATE TABLE items (name VARCHAR, shop_id VARCHAR); CREATE TABLE shops (shop_id VARCHAR)",
    "sql": "SELECT T1.name FROM items AS T1 JOIN shops AS T2 ON T1.shop_id = T2.shop_id",
}
COUNT = {"schema": SCHEMA, "sql": "SELECT COUNT(*) FROM games"}
ENDLESS = "SELECT COUNT(*) FROM games, games b, games c, games d, games e, games f, games g"
SAME = [
    (ITEM, RIGHT),
    (ITEM, f"{RIGHT};"),
    (ITEM, "select team as t from games where points >= 8 and city like 'Oslo'"),
    (ITEM, "SELECT team FROM (SELECT * FROM games WHERE points > 7) WHERE city = 'OSLO' ORDER BY team"),
    (SHOP, "SELECT name FROM shops JOIN items USING (shop_id)"),
]
OTHER = [
    (ITEM, "SELECT team FROM games"),
    (ITEM, 'SELECT team FROM games WHERE city = "oslo"'),
    (ITEM, 'SELECT team FROM games WHERE city = "oslo" OR points > 7'),
    (ITEM, 'SELECT team FROM games WHERE city = "oslo" AND points >= 7'),
    (ITEM, 'SELECT city FROM games WHERE city = "oslo" AND points > 7'),
    (ITEM, 'SELECT DISTINCT team FROM games WHERE city = "oslo" AND points > 7'),
    (ITEM, 'SELECT "no such column" FROM games WHERE city = "oslo" AND points > 7'),
    (ITEM, "SELECT team FROM games WHERE 0"),
    (SHOP, "SELECT name FROM items"),
    *((COUNT, f"SELECT {number}") for number in range(20, 31)),
]
NO_RESULT = [
    (ITEM, ""),
    (ITEM, "-- nothing"),
    (ITEM, f"The query is: {RIGHT}"),
    (ITEM, f"{RIGHT}; {RIGHT}"),
    (ITEM, "SELECT price FROM games"),
    (ITEM, "SELECT team FROM players"),
    (ITEM, "DELETE FROM games"),
    (ITEM, "DROP TABLE games"),
    (ITEM, "ATTACH 'other.db' AS other"),
    (ITEM, "PRAGMA table_list"),
    (ITEM, "SELECT load_extension('other')"),
    (ITEM, "SELECT randomblob(1000000000)"),
    (ITEM, "SELECT \0"),
    (ITEM, "SELECT '\ud800'"),
    (ITEM, ENDLESS),
    (ITEM, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"),
]


def write(folder: Path, rows: list[tuple[str, str]]) -> None:
    """Write a data folder with questions, each with its schema and its answer."""
    (folder / "text2sql").mkdir()
    asked = [f"{text2sql.BEFORE}{schema}{text2sql.AFTER} to answer: Which?" for schema, _ in rows]
    chats = [chat(user, answer, "Write SQL.") for user, (_, answer) in zip(asked, rows, strict=True)]
    (folder / "text2sql/chats.jsonl").write_text(lines(chats))


@pytest.mark.parametrize(
    ("cases", "reward"), [(SAME, 1.0), (OTHER, execution.RUNS), (NO_RESULT, 0.0)], ids=["same", "other", "no"]
)
def test_sql_is_rewarded_by_what_it_finds(cases: list[tuple[Row, str]], reward: float) -> None:
    grade = reward_function(text2sql.TASK.grader)
    assert {query: grade(query, item) for item, query in cases} == {query: reward for _, query in cases}


def test_a_query_without_an_end_is_stopped_soon() -> None:
    began = time.monotonic()
    assert reward_function(text2sql.TASK.grader)(ENDLESS, ITEM) == 0
    assert time.monotonic() - began < 2


def test_a_row_whose_answer_fails_or_finds_nothing_is_left_out(tmp_path: Path) -> None:
    empty, broken = "SELECT team FROM games WHERE 0", "SELECT price FROM games"
    write(tmp_path, [(SCHEMA, answer) for answer in (empty, RIGHT, broken, COUNT["sql"])])
    training, held_out = text2sql.rows(tmp_path, 1, 1)
    assert {row["sql"] for row in training + held_out} == {RIGHT, COUNT["sql"]}
    assert {row["schema"] for row in training + held_out} == {SCHEMA}
    with pytest.raises(ValueError, match="has 2 usable rows, but 3 are needed"):
        text2sql.rows(tmp_path, 2, 1)


def test_a_service_gets_the_same_reward_from_the_endpoint_as_a_trainer_from_the_function() -> None:
    async def asked(grader: EndpointGrader, queries: list[str]) -> list[float]:
        endpoints = Endpoints(Egress(HOST), at_once=4, seconds=30)
        credentials = Credentials({}, (), lambda: datetime.now(UTC))
        samples = map(Sample, queries)
        return await asyncio.gather(*(score(endpoints, grader, credentials, item, each) for each in samples))

    item: dict[str, Any] = as_prompt({**ITEM, "messages": chat("Which?", RIGHT)["messages"]})
    with offered(text2sql.TASK.grader) as grader:
        found = asyncio.run(asked(EndpointGrader.model_validate(grader), [RIGHT, COUNT["sql"], "no SQL"]))
    assert found == [1.0, execution.RUNS, 0.0]


def test_a_grader_for_the_sandbox_is_offered_as_it_is() -> None:
    grader = {"type": "python", "name": "one", "source": "def grade(sample, item):\n    return 1"}
    with offered(grader) as same:
        assert same == grader


def test_the_page_tells_a_warm_up_only_where_there_was_one() -> None:
    assert "a supervised job on the first 32 of the prompts" in warm_up_text(32)
    assert warm_up_text(0) == warm_up_text(None) == ""
