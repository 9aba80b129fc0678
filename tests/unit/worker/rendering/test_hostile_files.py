"""A Parquet file that inflates beyond the memory that a process may have."""

import subprocess
import sys
import textwrap
from pathlib import Path

from tests.fixtures.rows.parquet import long_list, parquet

PROGRAM = """
    import sys
    from core.datasets.formats import parquet  # its import needs memory too
    from core.datasets.formats.reading import open_dataset
    from worker.process.limits import limit_memory

    content = open(sys.argv[1], "rb").read()
    limit_memory(64 * 1024**2)
    try:
        list(open_dataset(iter([content]), 1 << 40, 4 * 1024**2).rows)
    except MemoryError:
        print("no memory")
"""


def test_a_file_that_needs_too_much_memory_raises_an_error_and_does_not_end_the_process(
    tmp_path: Path,
) -> None:
    file = tmp_path / "bomb.parquet"
    file.write_bytes(parquet({"messages": long_list(15_000_000)}, compression="zstd"))
    assert file.stat().st_size < 2000
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(file)]
    found = subprocess.run(program, capture_output=True, text=True, timeout=500)
    assert (found.stdout, found.returncode) == ("no memory\n", 0), found.stderr
