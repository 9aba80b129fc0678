"""The file descriptors of an API process: each connection takes one, and most of the rest is constant."""

import resource

# For the database, the store, the log, modules that are being imported, and the threads' event loops
RESERVED = 256


def connection_limit() -> int:
    """Allow this process all descriptors that it may have, and return how many connections they suffice for.

    Shells and systems usually allow 1,024 at first, and many more to a process that asks.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(1, hard - RESERVED)
