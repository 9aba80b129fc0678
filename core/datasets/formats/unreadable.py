"""The error that ends the reading of a file."""


class Unreadable(Exception):
    """A file cannot be read on: `code` says why for programs, str() what to do. `line` counts from 1."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code, self.line = code, line
