"""Finds the files of this process's Python, which a sandbox shows to the code in it."""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIBRARY = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
PACKAGES = ("site-packages", "dist-packages")  # of others, which a sandbox does not show
OF_TERMINALS = (
    "_tkinter.",
    "readline.",
    "_curses.",
    "_curses_panel.",
)  # modules with many libraries, of no use here
LIST_SECONDS = 60


@dataclass(frozen=True)
class PythonFiles:
    """Where the files of Python lie outside of the sandbox."""

    executable: Path
    standard_library: Path
    loader: Path
    """The program that loads shared libraries, which must have the same path in the sandbox"""
    libraries: dict[str, Path]
    """The shared libraries of Python and of its own modules, by the names under which they are looked for"""

    @property
    def hidden(self) -> list[str]:
        """The folders of the standard library that hold other packages."""
        return [name for name in PACKAGES if (self.standard_library / name).is_dir()]


@cache
def python_files() -> PythonFiles:
    """Return the files of this process's Python. Raises OSError if they cannot be listed."""
    executable = Path(sys.executable).resolve()
    standard_library = Path(sysconfig.get_path("stdlib"))
    modules = sorted(
        each for each in standard_library.glob("lib-dynload/*.so") if not each.name.startswith(OF_TERMINALS)
    )
    found = dict(_libraries([executable, *modules]))
    loader = next((path for name, path in found.items() if name.startswith("ld-linux")), None)
    if loader is None:
        raise OSError(f"{executable} has no loader of shared libraries")
    libraries = {name: path for name, path in found.items() if path != loader}
    return PythonFiles(executable, standard_library, loader, libraries)


def _libraries(programs: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each shared library that the programs need."""
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    listed = subprocess.run(
        ["ldd", *programs], capture_output=True, text=True, env=environment, timeout=LIST_SECONDS, check=False
    )
    for name, path in LIBRARY.findall(listed.stdout):
        yield name or Path(path).name, Path(path)
