"""Check the chart with Helm's own linter, from a wheel: `make lint` runs this."""

import sys
from pathlib import Path

import helm_python


def main() -> None:
    found = helm_python.lint(Path(__file__).parent / "tunery", strict=True)
    wrong = [message for message in found["messages"] if message["severity"] > 1]  # 1 only informs
    for message in wrong:
        print(f"{message['path']}: {message['error']}", file=sys.stderr)
    raise SystemExit(bool(wrong or found["errors"]))


if __name__ == "__main__":
    main()
