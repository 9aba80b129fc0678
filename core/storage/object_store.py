"""The object store: any store with the S3 API. This module makes all keys; no key comes from a client."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.process.loopback import is_loopback

PART_BYTES = 8 * 1024**2  # the size of a part in a multipart upload; S3 requires 5 MiB or more
CHUNK_BYTES = 256 * 1024
# At most two parts of a file are sent at once: a trainer sends several files while it trains, and each part
# takes memory. Where awscrt is installed, boto3 may choose another client on its own, which makes connections
# of its own: it knows neither our timeouts nor the rules for what clients name.
TRANSFER = TransferConfig(
    multipart_threshold=PART_BYTES,
    multipart_chunksize=PART_BYTES,
    max_concurrency=2,
    preferred_transfer_client="classic",
)
PROBE_PREFIX = "checkpoints/.tunery-probe/"
STORE_ERRORS = (BotoCoreError, ClientError, Boto3Error)  # `upload_file` turns a ClientError into a Boto3Error
DEFAULT_REGION = "us-east-1"  # S3's region for requests that name none; S3 refuses requests that name it

Moved = Callable[[int], object]
"""Is called with the number of bytes of each piece that was sent or fetched."""


def file_key(project_id: str, file_id: str) -> str:
    """Return the key of a file's bytes, whoever has made it."""
    return f"files/{project_id}/{file_id}"


def upload_prefix(upload_id: str) -> str:
    """Return the prefix of an upload's parts."""
    return f"uploads/{upload_id}/"


def checkpoints_prefix(job_id: str) -> str:
    return f"checkpoints/{job_id}/"


def checkpoint_prefix(job_id: str, attempt: str, step: int, checkpoint_id: str) -> str:
    """Return the prefix of one checkpoint. `attempt` is that of the lease, as in the functions below.

    A step may have two checkpoints under one lease: one before its evaluation and one after it.
    """
    return f"{checkpoints_prefix(job_id)}{attempt}/{step}/{checkpoint_id}/"


def adapters_prefix(job_id: str) -> str:
    return f"adapters/{job_id}/"


def adapter_prefix(job_id: str, attempt: str) -> str:
    return f"{adapters_prefix(job_id)}{attempt}/"


def tasks_prefix(kind: str, task_id: str) -> str:
    return f"{kind}s/{task_id}/"


def task_prefix(kind: str, task_id: str, attempt: str) -> str:
    """Return the prefix of the files that one attempt at a task has made."""
    return f"{tasks_prefix(kind, task_id)}{attempt}/"


class ObjectStore:
    """One bucket of the object store. Every method may raise STORE_ERRORS, after boto3's own retries."""

    def __init__(self, endpoint_url: str, bucket: str, *, retries: int = 4, timeout: float = 30) -> None:
        """Open a client. The first try and each of the `retries` wait `timeout` seconds for an answer."""
        self._bucket = bucket
        # The client gets its own session: boto3's default session keeps the credentials of its first client.
        self._client = boto3.Session().client(
            "s3",
            endpoint_url=endpoint_url,
            config=Config(
                connect_timeout=5,
                read_timeout=timeout,
                max_pool_connections=32,
                retries={"mode": "standard", "max_attempts": retries},
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                proxies={} if is_loopback(endpoint_url) else None,  # None: use the proxies of the environment
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def ensure_bucket(self) -> None:
        """Create the bucket in the client's region if it is missing. Several processes may do so at once."""
        try:
            self.check()
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                raise
            self._create_bucket()

    def check(self) -> None:
        """Raise one of STORE_ERRORS if the bucket cannot be reached."""
        self._client.head_bucket(Bucket=self._bucket)

    def put_file(self, key: str, path: Path, sent: Moved | None = None) -> None:
        """Send a file. `sent` is called with the number of bytes of each piece, from several threads."""
        self._client.upload_file(str(path), self._bucket, key, Config=TRANSFER, Callback=sent)

    def copy(self, source: str, key: str) -> None:
        """Have the store copy an object, without sending it. Raises FileNotFoundError."""
        try:
            self._client.copy({"Bucket": self._bucket, "Key": source}, self._bucket, key, Config=TRANSFER)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                raise FileNotFoundError(source) from error
            raise

    def put_bytes(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content)

    def read(self, key: str, part: range | None = None) -> Iterator[bytes]:
        """Return the object's bytes in chunks; with `part`, only the bytes at these positions.

        Raises FileNotFoundError at the call, before the first chunk.
        """
        wanted = {} if part is None else {"Range": f"bytes={part.start}-{part.stop - 1}"}
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=key, **wanted)["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                raise FileNotFoundError(key) from error
            raise
        return _chunks(body)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)

    def empty(self, prefix: str) -> None:
        """Delete all objects under `prefix`, and what writers have neither committed nor aborted."""
        pages = self._client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for entry in page.get("Uploads", []):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=entry["Key"], UploadId=entry["UploadId"]
                )
        for key in self.list(prefix):
            self.delete(key)

    def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`."""
        return [key for key, _ in self.sizes(prefix)]

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the keys that begin with `prefix`, each with the size of its object."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", []):
                yield entry["Key"], entry["Size"]

    def writer(self, key: str) -> "ObjectWriter":
        """Return a writer for a new object. End it with `commit` or `abort`."""
        return ObjectWriter(self._client, self._bucket, key)

    def _create_bucket(self) -> None:
        region = self._client.meta.region_name
        where = (
            {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != DEFAULT_REGION else {}
        )
        try:
            self._client.create_bucket(Bucket=self._bucket, **where)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
            self.check()  # another process was faster; this raises if the bucket belongs to somebody else


class ObjectWriter:
    """Writes an object of unknown length in parts.

    The object is not visible before `commit`, and `abort` leaves nothing behind. The data of one part (8 MiB)
    waits in an unnamed file on disk, because fifty uploads at once would take gigabytes of memory. `bytes`
    and `sha256` describe all data that was written to `key` so far.
    """

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self.key = key
        self._target = {"Bucket": bucket, "Key": key}
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._part = TemporaryFile()  # noqa: SIM115 - `commit` and `abort` close it
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        self._digest.update(chunk)
        self._part.write(chunk)
        if self._part.tell() >= PART_BYTES:
            self._send_part()

    def commit(self) -> None:
        with self._part:
            if self._upload_id is None:
                self._part.seek(0)
                self._client.put_object(**self._target, Body=self._part)
                return
            if self._part.tell():
                self._send_part()
        self._client.complete_multipart_upload(
            **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
        )

    def abort(self) -> None:
        with suppress(OSError):  # the disk may be too full for what waits to be written; it is dropped anyway
            self._part.close()
        if self._upload_id is not None:
            self._client.abort_multipart_upload(**self._target, UploadId=self._upload_id)

    def _send_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._client.create_multipart_upload(**self._target)["UploadId"]
        number = len(self._parts) + 1
        self._part.seek(0)
        answer = self._client.upload_part(
            **self._target, UploadId=self._upload_id, PartNumber=number, Body=self._part
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._part.seek(0)
        self._part.truncate()


def _chunks(body: Any) -> Iterator[bytes]:
    with body:
        yield from body.iter_chunks(CHUNK_BYTES)
