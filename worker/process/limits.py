"""Limits of what a process that reads what nobody has checked may take."""

import resource
from pathlib import Path


def limit_time(more_seconds: int) -> None:
    """Let the system end this process once it has computed for so many seconds more.

    The system then writes no core file: it would hold the texts of clients.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, _computed() + more_seconds)


def unlimit_time() -> None:
    """Let this process compute for as long as it likes again."""
    _limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)


def limit_memory(more_bytes: int) -> None:
    """Let this process have at most `more_bytes` in addition to what it has. Then MemoryError is raised."""
    _limit(resource.RLIMIT_DATA, _data_bytes() + more_bytes)


def _limit(kind: int, value: int) -> None:
    """Set the limit of this process, as far as it may be set."""
    _, most = resource.getrlimit(kind)
    if most != resource.RLIM_INFINITY:
        value = most if value == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, most))


def _computed() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + 1


def _data_bytes() -> int:
    """Return the bytes of this process that RLIMIT_DATA counts."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmData:")[2].split()[0])
