"""The forged provider of the tests of sign-on, one for each file of tests."""

from collections.abc import Iterator

import pytest

from tests.fixtures.outside.forged_openid import ForgedProvider, forged_provider


@pytest.fixture(scope="module")
def forging() -> Iterator[ForgedProvider]:
    with forged_provider() as provider:
        yield provider


@pytest.fixture
def forged(forging: ForgedProvider) -> Iterator[ForgedProvider]:
    """Yield the provider, which says what is right unless the test changes it."""
    yield forging
    forging.reset()
