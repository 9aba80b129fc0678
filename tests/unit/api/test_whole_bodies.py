"""How many bytes of bodies wait in memory, and that they make room when their requests are answered."""

from contextlib import ExitStack

import pytest

from api.admission.bodies import STRANGERS, HeldBytes
from core.errors import Unavailable


@pytest.fixture
def held() -> HeldBytes:
    """Return a count with room for 100 bytes, of which one owner may have 60."""
    return HeldBytes(most=100, most_of_owner=60)


def test_an_owner_has_a_share_of_the_bytes_and_leaves_the_rest_to_others(held: HeldBytes) -> None:
    with ExitStack() as waiting:
        held.add(STRANGERS, 60, waiting)
        with pytest.raises(Unavailable, match="Too many large requests"):
            held.add(STRANGERS, 1, waiting)
        held.add("one project", 40, waiting)
        with pytest.raises(Unavailable):
            held.add("another project", 1, waiting)


def test_an_answered_request_makes_room(held: HeldBytes) -> None:
    with ExitStack() as answered:
        held.add("project", 30, answered)
        held.add("project", 30, answered)
    with ExitStack() as waiting:
        held.add("project", 60, waiting)
