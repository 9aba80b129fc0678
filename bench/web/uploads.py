"""Upload several files of one size at the same time: python -m bench.web.uploads COUNT BYTES KEY PORT...

It is a process of its own, so that bench/web/api.py can watch the API meanwhile. All uploads send the same
buffer.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

BOUNDARY = "tunery-bench"
BLOCK = 256 * 1024


def main() -> None:
    count, size, key, *ports = sys.argv[1:]
    file = dataset(int(size))
    with ThreadPoolExecutor(int(count)) as threads:
        for answer in [
            threads.submit(upload, file, key, int(ports[number % len(ports)])) for number in range(int(count))
        ]:
            answer.result()


def dataset(size: int) -> bytes:
    """Return valid rows of about a kilobyte each, about `size` bytes in all."""
    messages = [{"role": "user", "content": "x" * 900}, {"role": "assistant", "content": "y"}]
    row = json.dumps({"messages": messages}).encode() + b"\n"
    return row * (size // len(row))


def upload(file: bytes, key: str, port: int) -> None:
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    head = (
        f'{field}--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
    )
    tail = f"\r\n--{BOUNDARY}--\r\n"
    headers = {
        "authorization": f"Bearer {key}",
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        "content-length": str(len(head) + len(file) + len(tail)),
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/files", body=form(head.encode(), file, tail.encode()), headers=headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {answer.read()!r}")


def form(head: bytes, file: bytes, tail: bytes) -> Iterator[bytes | memoryview]:
    yield head
    view = memoryview(file)
    for start in range(0, len(view), BLOCK):
        yield view[start : start + BLOCK]
    yield tail


if __name__ == "__main__":
    main()
