"""What the playground and an adapter's page give to copy asks the model, run as a user would run it.

dashboard/tests/snippets.test.ts holds the code in these files to what the dashboard writes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.service.chatting import tuned_model
from tests.fixtures.service.serving import ServerProcess, Serving

SNIPPETS = REPOSITORY / "dashboard/tests/snippets"
ORIGIN, MODEL = "http://127.0.0.1:8000", "tiny-model"
COMMANDS = {"python": [sys.executable, "-"], "curl": ["bash", "-s"], "cli": ["bash", "-s"]}
SHELL_FUNCTION = f'tunery() {{ {sys.executable} -m cli.main "$@"; }}\n'
ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'What\'s "it"?\n$HOME `id`'},
]


@pytest.fixture(scope="module")
def tenant(chat_api: Api) -> Tenant:
    return chat_api.tenant("chatting")


@pytest.fixture(scope="module")
def model(chat_api: Api, tenant: Tenant, serving: Serving, server: ServerProcess) -> str:
    return tuned_model(chat_api, tenant, serving.adapter(seed=1))[0]


@pytest.fixture(scope="module")
def expected(tenant: Tenant, model: str) -> str:
    asked = {"model": model, "messages": ASKED, "temperature": 0, "max_completion_tokens": 3}
    answer = tenant.http.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


@pytest.mark.parametrize("form", COMMANDS)
def test_a_copied_question_gets_the_model_s_answer(
    chat_api: Api, tenant: Tenant, model: str, expected: str, tmp_path: Path, form: str
) -> None:
    code = (SNIPPETS / f"chat.{form}.txt").read_text().replace(ORIGIN, chat_api.url).replace(MODEL, model)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")}
    ended = subprocess.run(
        COMMANDS[form],
        input=((SHELL_FUNCTION if form == "cli" else "") + code).encode(),
        cwd=tmp_path,
        env=variables | {"TUNERY_API_KEY": tenant.key},
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    printed = ended.stdout.decode()
    if form == "curl":
        printed = json.loads(printed)["choices"][0]["message"]["content"]
    assert printed.strip() == expected.strip()
