"""Floods of an API: invented keys, a key behind two blanks, and sign-ins of which half a body comes."""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress

from bench.web import http_load
from core.ids import new_id

INVENTED = 10_000

HALF_A_SIGN_IN = (
    b"POST /v1/sign_in HTTP/1.1\r\nhost: 127.0.0.1\r\nx-tunery-dashboard: 1\r\n"
    b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
)


def invented_keys(path: str) -> list[bytes]:
    """Return requests with keys that have the form of a key, so that only the database can refuse them."""
    bodies = (f"tnr_{new_id('')}_{secrets.token_hex(24)}" for _ in range(INVENTED))
    return [http_load.get(path, f"{body}_{zlib.crc32(body.encode()):08x}") for body in bodies]


def misspelt(path: str, key: str) -> bytes:
    """Return a request whose header has two blanks before the key."""
    return http_load.get(path, f" {key}")


async def send_half_bodies(ports: Sequence[int], clients: int, seconds: float) -> None:
    """Keep `clients` connections on which half a sign-in has come. Open each anew that the API closes."""

    async def send(port: int) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(HALF_A_SIGN_IN)
                await reader.read()  # until the API closes the connection
                writer.close()

    sending = [asyncio.create_task(send(ports[number % len(ports)])) for number in range(clients)]
    await asyncio.sleep(seconds)
    for each in sending:
        each.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
