"""The object store: any S3. Keys are made here, by the server, never taken from a client."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.loopback import is_loopback

PART_BYTES = 8 * 1024**2  # of a multipart upload; S3's least is 5 MiB
CHUNK_BYTES = 256 * 1024
# Two parts of a file at once: a trainer sends several files beside its training, and each part takes memory.
TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2)
PROBE_KEY = ".tunery-probe"
PROBE_BYTES = 64 * 1024
STORE_ERRORS = (BotoCoreError, ClientError, Boto3Error)  # `upload_file` makes the last of the second
DEFAULT_REGION = "us-east-1"  # S3 refuses it where it is named: it is the region of those who name none


def file_key(file_id: str) -> str:
    return f"files/{file_id}"


def upload_prefix(upload_id: str) -> str:
    """Of an upload's parts, and of the file that they become."""
    return f"uploads/{upload_id}/"


def checkpoints_prefix(job_id: str) -> str:
    return f"checkpoints/{job_id}/"


def checkpoint_prefix(job_id: str, fence: int, step: int, checkpoint_id: str) -> str:
    """A step may have two under one fence: one before its evaluation, and one after it."""
    return f"{checkpoints_prefix(job_id)}{fence}/{step}/{checkpoint_id}/"


def adapters_prefix(job_id: str) -> str:
    return f"adapters/{job_id}/"


def adapter_prefix(job_id: str, fence: int) -> str:
    return f"{adapters_prefix(job_id)}{fence}/"


def results_prefix(job_id: str) -> str:
    return f"results/{job_id}/"


def result_key(job_id: str, fence: int) -> str:
    return f"{results_prefix(job_id)}{fence}.csv"


class ObjectStore:
    """One bucket. Every method raises STORE_ERRORS, after boto3's own retries."""

    def __init__(self, endpoint_url: str, bucket: str, *, retries: int = 4, timeout: float = 30) -> None:
        """The first try and each of the `retries` wait `timeout` seconds for an answer."""
        self._bucket = bucket
        # A session of its own: the default one would keep the credentials of the process's first client.
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
                proxies={} if is_loopback(endpoint_url) else None,  # None: those of the environment
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def ensure_bucket(self) -> None:
        """Make the bucket in the client's region where it is missing; several processes may do so."""
        try:
            self.check()
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                raise
            self._create_bucket()

    def check(self) -> None:
        """Raises where the bucket cannot be reached."""
        self._client.head_bucket(Bucket=self._bucket)

    def check_writing(self) -> None:
        """Raises where the bucket does not take a write: a full disk still answers to `check`."""
        self.put_bytes(PROBE_KEY, bytes(PROBE_BYTES))
        self.delete(PROBE_KEY)

    def put_file(self, key: str, path: Path) -> None:
        self._client.upload_file(str(path), self._bucket, key, Config=TRANSFER)

    def put_bytes(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content)

    def read(self, key: str, part: range | None = None) -> Iterator[bytes]:
        """The object's bytes, or those at the places of `part`, in chunks.

        Raises FileNotFoundError before the first chunk.
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

    def delete_prefix(self, prefix: str) -> None:
        for key in self.list(prefix):
            self.delete(key)

    def list(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def abort_writes(self, prefix: str) -> None:
        """Drop what writers under `prefix` have sent and neither committed nor aborted."""
        pages = self._client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for entry in page.get("Uploads", []):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=entry["Key"], UploadId=entry["UploadId"]
                )

    def writer(self, key: str) -> "ObjectWriter":
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
            self.check()  # another process was faster; a stranger's bucket is refused here


class ObjectWriter:
    """Streams an object of unknown length: nothing is visible before `commit`, nothing is left by `abort`.

    A part (8 MiB) waits in an unnamed file on disk: in memory, fifty uploads at once would need gigabytes.
    `bytes` and `sha256` tell what was written so far.
    """

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._target = {"Bucket": bucket, "Key": key}
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._part = TemporaryFile()  # noqa: SIM115 (closed by `commit` and `abort`)
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
