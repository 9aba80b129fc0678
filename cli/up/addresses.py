"""Addresses at which something is asked, from those on which it listens."""

EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def reachable(host: str) -> str:
    """Return the host part of a URL for a listening address. "Every address" becomes the loopback address."""
    host = EVERY.get(host, host)
    return f"[{host}]" if ":" in host else host
