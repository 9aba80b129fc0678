"""A multipart form with one file in it, parsed while it streams: fields come in any order, unknown ones are
ignored, and the file's bytes are handed on as they arrive.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread
from streaming_form_data import ParseFailedException, StreamingFormDataParser
from streaming_form_data.targets import BaseTarget

from core.errors import InvalidRequest, TooLarge

BLOCK_BYTES = 256 * 1024
MAX_FORM_BYTES = 1024**2  # of everything but the file: boundaries, headers, other fields
MAX_TEXT_BYTES = 64


Received = TypeVar("Received", covariant=True)


class Receiver(Protocol[Received]):
    """Takes a body; `abort` undoes what it did."""

    def feed(self, block: bytes) -> None: ...
    def finish(self) -> Received: ...
    def abort(self) -> None: ...


async def receive(
    stream: AsyncIterator[bytes], receiver: Receiver[Received], threads: CapacityLimiter
) -> Received:
    """Feed the whole body to `receiver`, in one of `threads`."""
    try:
        async for block in _blocks(stream):
            await to_thread.run_sync(receiver.feed, block, limiter=threads)
        return await to_thread.run_sync(receiver.finish, limiter=threads)
    except BaseException:
        await to_thread.run_sync(receiver.abort, limiter=threads)
        raise


async def in_threads(chunks: Iterator[bytes], threads: CapacityLimiter) -> AsyncIterator[bytes]:
    """The same chunks, each waited for in one of `threads`."""
    while chunk := await to_thread.run_sync(next, chunks, b"", limiter=threads):
        yield chunk


async def _blocks(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger pieces: each is handed to a thread, which costs more than parsing it."""
    block = bytearray()
    async for chunk in stream:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


class TextField(BaseTarget):
    """A short field. `judge` turns its text into `value` as soon as it is complete, or raises."""

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
    """The file. `receive` is called with its bytes; `filename` is as the client sent it."""

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
                f"'{self.name}' came as text. With curl, put an @ before the path: -F {self.name}=@PATH",
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
    """Feed it the body, then `finish`. Raises InvalidRequest and TooLarge on the way."""

    def __init__(self, headers: Mapping[str, str], file: FileField, *texts: TextField) -> None:
        self._file = file
        fields: list[FileField | TextField] = [file, *texts]
        self._names = " and ".join(f"'{field.name}'" for field in fields[:2])
        self._fed = 0
        try:
            self._parser = StreamingFormDataParser({"content-type": headers.get("content-type", "")})
        except ParseFailedException as error:
            raise InvalidRequest(
                f"Send the file as multipart/form-data, with {self._names}.", code="invalid_multipart"
            ) from error
        for field in fields:
            self._parser.register(field.name, field)

    def feed(self, block: bytes) -> None:
        self._fed += len(block)
        try:
            self._parser.data_received(block)
        except (ParseFailedException, UnicodeDecodeError) as error:
            raise InvalidRequest(
                "The body is not a well-formed multipart form.", code="invalid_multipart"
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
            raise InvalidRequest("The body ended in the middle of the form.", code="invalid_multipart")


def announced_bytes(headers: Mapping[str, str]) -> int:
    """Of the file at least, by the body's length; 0 where that is not said."""
    length = headers.get("content-length", "")
    return max(0, int(length) - MAX_FORM_BYTES) if length.isdecimal() else 0


def missing(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name
    )


def _twice(name: str) -> InvalidRequest:
    return InvalidRequest(f"The form holds '{name}' twice.", code="invalid_value", param=name)
