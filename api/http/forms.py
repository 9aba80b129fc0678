"""Parses a multipart form with one file in it while the form arrives.

The fields come in any order, and unknown fields are ignored. The file's bytes are handed on at once.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread
from streaming_form_data import ParseFailedException, StreamingFormDataParser
from streaming_form_data.targets import BaseTarget

from core.errors import InvalidRequest, TooLarge

BLOCK_BYTES = 256 * 1024
MAX_FORM_BYTES = 1024**2  # of all but the file: boundaries, headers, other fields
MAX_TEXT_BYTES = 64


Received = TypeVar("Received", covariant=True)


class Receiver(Protocol[Received]):
    """Takes the blocks of a body. `finish` ends it, and `abort` undoes all that was done."""

    def feed(self, block: bytes) -> None: ...
    def finish(self) -> Received: ...
    def abort(self) -> None: ...


async def receive(
    stream: AsyncIterator[bytes],
    receiver: Receiver[Received],
    threads: CapacityLimiter,
    permit: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> Received:
    """Feed the whole body to `receiver`, in one of `threads`, and return its result.

    Each use of a thread takes a `permit`, where there are permits.
    """
    try:
        async for block in _blocks(stream):
            async with permit():
                await to_thread.run_sync(receiver.feed, block, limiter=threads)
        async with permit():
            return await to_thread.run_sync(receiver.finish, limiter=threads)
    except BaseException:
        await to_thread.run_sync(receiver.abort, limiter=threads)
        raise


async def _blocks(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the same bytes in larger blocks. Handing a small one to a thread costs more than parsing it."""
    block = bytearray()
    async for chunk in stream:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


class TextField(BaseTarget):
    """A short field. As soon as its text is complete, `judge` turns it into `value`, or raises an error."""

    def __init__(self, name: str, judge: Callable[[str], Any]) -> None:
        super().__init__()
        self.name = name
        self.value: Any = None
        self._judge = judge
        self._bytes = bytearray()

    def on_start(self) -> None:
        if self.value is not None:
            raise _twice(self.name)

    def on_data_received(self, chunk: bytes) -> None:
        self._bytes += chunk[: MAX_TEXT_BYTES + 1 - len(self._bytes)]

    def on_finish(self) -> None:
        self.value = self._judge(self._bytes.decode(errors="replace"))


class FileField(BaseTarget):
    """The file. `receive` gets each piece of its bytes. `filename` is the name that the client sent."""

    def __init__(self, name: str, receive: Callable[[bytes], object]) -> None:
        super().__init__()
        self.name = name
        self.bytes = 0
        self._receive = receive
        self.started = self.finished = False

    @property
    def filename(self) -> str:
        return self.multipart_filename or ""

    def on_start(self) -> None:
        if self.started:
            raise _twice(self.name)
        if self.multipart_filename is None:
            raise InvalidRequest(
                f"The field '{self.name}' must be a file, not text. With curl, put an @ before the path: "
                f"-F {self.name}=@PATH",
                code="invalid_value",
                param=self.name,
            )
        self.started = True

    def on_data_received(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        self._receive(chunk)

    def on_finish(self) -> None:
        self.finished = True


class StreamedForm:
    """Parses the form: feed it the blocks of the body, then call `finish`.

    Both raise InvalidRequest, and `feed` raises TooLarge.
    """

    def __init__(self, headers: Mapping[str, str], file: FileField, *texts: TextField) -> None:
        self._file = file
        fields: list[FileField | TextField] = [file, *texts]
        self._names = " and ".join(f"'{field.name}'" for field in fields[:2])
        self._fed = 0
        try:
            self._parser = StreamingFormDataParser({"content-type": headers.get("content-type", "")})
        except ParseFailedException as error:
            raise InvalidRequest(
                f"The body is not a multipart form. Send it as multipart/form-data with {self._names}.",
                code="invalid_multipart",
            ) from error
        for field in fields:
            self._parser.register(field.name, field)

    def feed(self, block: bytes) -> None:
        self._fed += len(block)
        try:
            self._parser.data_received(block)
        except (ParseFailedException, UnicodeDecodeError) as error:
            raise InvalidRequest(
                "The body is not a well-formed multipart form. Let a library or curl build it.",
                code="invalid_multipart",
            ) from error
        if self._fed - self._file.bytes > MAX_FORM_BYTES:
            raise TooLarge(
                f"The form holds more than {MAX_FORM_BYTES} bytes beside the field '{self._file.name}'. Send "
                f"{self._names}, and nothing else.",
                code="form_too_large",
            )

    def finish(self) -> None:
        if not self._file.started:
            raise missing(self._file.name)
        if not self._file.finished:
            raise InvalidRequest(
                "The body ended in the middle of the form. Send it again.", code="invalid_multipart"
            )


def announced_bytes(headers: Mapping[str, str]) -> int:
    """Return how many bytes the file has at least, by the length of the body; 0 if that is unknown."""
    length = headers.get("content-length", "")
    return max(0, int(length) - MAX_FORM_BYTES) if length.isdecimal() else 0


def missing(name: str) -> InvalidRequest:
    """Return the error for a field that the form lacks."""
    return InvalidRequest(
        f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name
    )


def _twice(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"The form holds the field '{name}' twice. Send it once.", code="invalid_value", param=name
    )
