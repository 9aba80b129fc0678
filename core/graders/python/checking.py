"""The process that checks the source of a grader, `python -m core.graders.python.checking SECONDS MEMORY`.

It reads the source from its standard input, and writes what is wrong with it, or nothing. It has no secrets,
and its memory and time are bounded.
"""

import resource
import sys

from core.graders.python.sandbox import MIB, GraderFailed, Sandbox, SourceRefused
from core.graders.python.signature import wrong_with

MEMORY = 2048 * MIB  # of address space, for the parser and the threads of Monty's client
CPU_SECONDS = 20


def main() -> None:
    """Check the source. If the sandbox fails, the process ends with the status 1."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    source = sys.stdin.buffer.read().decode()
    wrong = wrong_with(source)
    if wrong is None:
        from core.graders.python.monty import define  # who only names this module need not load Monty

        try:
            define(Sandbox("monty", seconds, memory), source, seconds)
        except (SourceRefused, GraderFailed) as error:
            wrong = str(error)
    sys.stdout.buffer.write((wrong or "").encode(errors="replace"))


if __name__ == "__main__":
    main()
