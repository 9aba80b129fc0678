"""Checkpoints of which a file was cut: a job goes on from the checkpoint before, and says what is damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from core.storage.file_names import POSITION_NAME, STATE_NAME, WEIGHTS_NAME
from core.tables import Checkpoint
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.work.checkpoints import claim_of, messages_of

Cut = Callable[[int], int]
# At which byte of a file of so many bytes. A file of safetensors begins with 8 bytes for its header's length
CUTS: dict[str, Cut] = {
    "at its beginning": lambda _size: 0,
    "within its header's length": lambda _size: 7,
    "within its header": lambda size: min(9, size - 1),
    "in its middle": lambda size: size // 2,
    "before its last byte": lambda size: size - 1,
}


@pytest.fixture
def job_id(alice: Tenant) -> str:
    return str(alice.create_job()["id"])


def prefix_of(api: Api, job_id: str, step: int) -> str:
    query = select(Checkpoint.object_prefix).where(Checkpoint.job_id == job_id, Checkpoint.step == step)
    with api.sessions() as session:
        return session.scalars(query).one()


@pytest.mark.parametrize("name", [STATE_NAME, POSITION_NAME, WEIGHTS_NAME])
def test_a_job_passes_over_a_checkpoint_of_which_an_object_was_cut(
    api: Api, job_id: str, tmp_path: Path, name: str
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(1, 0.1, best=True)
        claim.save(2, 0.2, best=True)
    key = prefix_of(api, job_id, 2) + name
    whole = b"".join(api.store.read(key))
    for described, cut in CUTS.items():
        api.store.put_bytes(key, whole[: cut(len(whole))])
        with claim_of(api, job_id, tmp_path) as claim:
            assert claim.restore() == (1, pytest.approx(0.1)), described
    passed_over = [each for each in messages_of(api, job_id) if "step 2 is passed over" in each]
    assert len(passed_over) == len(CUTS)
    assert all(f"{name} is not the file that was published" in message for message in passed_over)
    api.store.put_bytes(key, whole)
    with claim_of(api, job_id, tmp_path) as claim:
        assert claim.restore() == (2, pytest.approx(0.2))


@pytest.mark.parametrize("name", [STATE_NAME, POSITION_NAME])
def test_a_job_passes_over_a_checkpoint_that_was_cut_before_it_was_shipped(
    api: Api, job_id: str, tmp_path: Path, name: str
) -> None:
    """The hash in the database is that of the cut file."""

    def cut_at(cut: Cut) -> Callable[[Path], object]:
        def written(folder: Path) -> None:
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[: cut(len(content))])

        return written

    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(1, 0.1)
        for step, cut in enumerate(CUTS.values(), start=2):
            claim.save(step, 0.2, written=cut_at(cut))
    with claim_of(api, job_id, tmp_path) as claim:
        assert claim.restore() == (1, pytest.approx(0.1))
    passed_over = [each for each in messages_of(api, job_id) if "is passed over" in each]
    assert len(passed_over) == len(CUTS)
    assert all(f"{name} cannot be read" in message for message in passed_over)
