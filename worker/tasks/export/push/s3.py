"""Pushes files to a prefix of a bucket. Every request goes through the rules for what clients name."""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from core.egress import Egress, EgressRefused, NotAnswered, UnknownHost, send
from core.errors import JobError, OutsideFault
from core.exports.destinations import S3Destination
from core.storage.object_store import TRANSFER
from worker.tasks.export.push.progress import Progress
from worker.tasks.export.push.reasons import shortened

DEFAULT_REGION = "us-east-1"
SECONDS = 300.0  # for one request, which sends at most one part of a file
CHUNK_BYTES = 64 * 1024
FORM = "ACCESS_KEY_ID:SECRET_ACCESS_KEY"
# The fields at which S3's codes point
KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired")
REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301")


def push_to_s3(
    files: Sequence[Path], destination: S3Destination, secret: str, egress: Egress, progress: Progress
) -> dict[str, Any]:
    """Write the files in their order, and return where they are. Objects of the same names are replaced.

    Raises JobError and OutsideFault.
    """
    prefix = f"{destination.prefix}/" if destination.prefix else ""
    with _explained(destination):
        client = _client(destination, secret, egress)
        for path in files:
            key = prefix + path.name
            client.upload_file(str(path), destination.bucket, key, Config=TRANSFER, Callback=progress.add)
    url = f"s3://{destination.bucket}/{prefix}"
    return {"type": "s3", "url": url, "objects": len(files)}


def _client(destination: S3Destination, secret: str, egress: Egress) -> Any:
    """Return a client that has the project's key, and nothing of the worker's own settings for AWS."""
    key, *rest = secret.split(":", 2)
    if not rest or not all((key, *rest)):
        reason = (
            f"The secret {destination.secret} must have the form {FORM}, and may end with :SESSION_TOKEN."
        )
        raise JobError("secret_malformed", reason, "destination.secret")
    session = boto3.Session(
        aws_access_key_id=key,
        aws_secret_access_key=rest[0],
        aws_session_token=rest[1] if len(rest) > 1 else None,
        region_name=destination.region or DEFAULT_REGION,
    )
    config = Config(
        retries={"mode": "standard", "max_attempts": 3},
        signature_version="s3v4",
        s3={"addressing_style": "path" if destination.endpoint_url else "auto"},
        ignore_configured_endpoint_urls=True,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = session.client("s3", endpoint_url=destination.endpoint_url, config=config)
    except ValueError as error:  # botocore takes fewer names of hosts than DNS does
        reason = f"The address is refused: {shortened(str(error))}."
        raise JobError("destination_refused", reason, "destination.endpoint_url") from error
    client.meta.events.register("before-send.s3", _sender(egress))
    logging.getLogger("botocore").setLevel(logging.INFO)  # its debug lines hold the session token
    return client


def _sender(egress: Egress) -> Callable[..., AWSResponse]:
    """Return the function that sends boto3's requests, in place of its own connections."""

    def send_guarded(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        # The server is not asked before a body is sent
        headers = {name: _text(value) for name, value in request.headers.items() if name.lower() != "expect"}
        try:
            answer = send(egress, request.method, request.url, headers, _content(request.body), SECONDS)
        except NotAnswered as error:
            raise EndpointConnectionError(endpoint_url=request.url, error=error) from error
        return AWSResponse(request.url, answer.status, HeadersDict(answer.headers), _Body(answer.body))

    return send_guarded


class _Body(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _content(body: Any) -> bytes | Iterator[bytes] | None:
    if hasattr(body, "read"):
        return iter(lambda: body.read(CHUNK_BYTES), b"")
    return body.encode() if isinstance(body, str) else body


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


@contextmanager
def _explained(destination: S3Destination) -> Iterator[None]:
    """Raise JobError or OutsideFault instead of the errors of boto3."""
    try:
        yield
    except EgressRefused as error:
        reason = f"The address is refused: {error}."
        raise JobError("destination_refused", reason, "destination.endpoint_url") from error
    except EndpointConnectionError as error:
        cause = error.kwargs["error"]
        if destination.endpoint_url is None and destination.region and isinstance(cause, UnknownHost):
            reason = f"AWS has no region {destination.region}: {cause}. Name the region of the bucket."
            raise JobError("destination_unreachable", reason, "destination.region") from error
        if destination.endpoint_url is None:
            raise OutsideFault("AWS did not answer") from error
        reason = f"{destination.endpoint_url} does not answer: {cause}."
        raise JobError("destination_unreachable", reason, "destination.endpoint_url") from error
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise _refusal(error, destination) from error


def _refusal(error: Exception, destination: S3Destination) -> JobError | OutsideFault:
    """Return the reason why the store refused a request."""
    cause: BaseException | None = error  # `upload_file` raises a Boto3Error about a ClientError
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return JobError("push_failed", f"The files cannot be sent: {shortened(str(error))}", "destination")
    code = shortened(cause.response["Error"]["Code"])
    status = cause.response["ResponseMetadata"]["HTTPStatusCode"]
    bucket, secret = destination.bucket, destination.secret
    if status >= 500 or code in ("SlowDown", "RequestTimeout", "OperationAborted"):
        return OutsideFault(f"The store of the bucket {bucket} answered {code}")
    if code in KEY or status == 401:
        reason = f"The store refuses the key in the secret {secret} ({code}). Store a valid one."
        return JobError("push_refused", reason, "destination.secret")
    if code in REGION:
        reason = f"The bucket {bucket} is in another region ({code}). Name it."
        return JobError("push_refused", reason, "destination.region")
    if code == "NoSuchBucket":
        reason = f"There is no bucket {bucket}. Create it first."
    elif status == 403:
        reason = f"The key in the secret {secret} may not write to the bucket {bucket} ({code})."
    else:
        reason = f"The store refuses the files ({code})."
    return JobError("push_refused", reason, "destination.bucket")
