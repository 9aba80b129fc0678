"""A trainer that answers chats dies in the middle of them."""

import openai
import pytest
from sqlalchemy import select

from core.tables import Server
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack


def addresses(stack: Stack) -> list[str]:
    with stack.sessions() as session:
        return list(session.scalars(select(Server.address)))


@pytest.mark.exhaustive
def test_chats_of_a_killed_trainer_end_with_an_error_and_the_next_trainer_takes_its_place(
    stack: Stack,
) -> None:
    worker = stack.start_worker(serve_share="0.3")
    wait_for(lambda: addresses(stack), JOB_SECONDS)
    job_id = stack.create_job(rows=24, epochs=8, model=TINY)
    stack.wait_for_step(job_id)
    before = addresses(stack)
    stream = stack.tenant.openai.chat.completions.create(
        model=TINY,
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=400,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(stream)
    worker.trainer().kill()
    with pytest.raises(openai.APIError) as raised:
        list(stream)
    assert raised.value.code == "server_lost"
    wait_for(lambda: set(addresses(stack)) - set(before), JOB_SECONDS)
    stack.wait_for_status(job_id, "succeeded")
    assert worker.stop() == 0
    assert not set(addresses(stack)) - set(before), "a server that stops takes its row away"
