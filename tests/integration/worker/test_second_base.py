"""A real base model of another family than the default one, from its wheels to an adapter that answers."""

from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from core.offering.catalog_file import add_entry
from tests.fixtures.models.gemma import gemma
from tests.fixtures.service.stack import MODELS, job_api_on, stack_on
from worker.base_models.model_store import ensure_model

CONVERTED_SECONDS = 900  # its tokenizer has 262,144 words


@pytest.mark.exhaustive
@pytest.mark.timeout(2 * CONVERTED_SECONDS)
def test_a_gemma_that_wheels_carry_in_pieces_trains_through_the_service(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    entry = gemma(tmp_path)
    add_entry(catalog := tmp_path / "catalog.toml", entry)
    ensure_model(entry, MODELS)  # first: it takes longer than a test waits for a job
    with (
        job_api_on(servers, database_url, catalog_file=catalog) as api,
        stack_on(servers, api, tmp_path) as stack,
    ):
        stack.start_worker()
        job_id = stack.create_job(rows=12, epochs=3, model=entry.id)
        stack.wait_for_status(job_id, "succeeded")
        losses = stack.losses(job_id)
        assert losses[-1] < 0.8 * losses[0]
        assert not [words for words in stack.events(job_id) if "row by row" in words]
        assert len(stack.adapters(job_id)) == 1
