"""The object store on a real S3 server."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from core.storage.object_store import ObjectStore


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_a_missing_bucket_is_made_whatever_the_region_and_by_several_at_once(
    servers: Any, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    for name, value in (servers.environment | {"AWS_DEFAULT_REGION": region}).items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid4().hex[:8]}"
    stores = [ObjectStore(servers.urls["s3_endpoint_url"], bucket) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ObjectStore.ensure_bucket, stores))
    stores[0].put_bytes("key", b"content")
    assert b"".join(stores[1].read("key")) == b"content"
