"""The error that ends the reading of a file."""

TOO_MUCH_MEMORY = (
    "The file needs too much memory to be read: one of its rows, or a part that is read at once, is too "
    "large. Write it as JSON lines, or in smaller row groups."
)


class Unreadable(Exception):
    """A file cannot be read on: `code` says why for programs, str() what to do.

    `number` counts lines from 1, or rows where rows share lines; `prefix` says it in words.
    """

    def __init__(self, code: str, message: str, line: int | None = None, *, row: int | None = None) -> None:
        super().__init__(message)
        self.code, self.number = code, line if row is None else row
        word = "Line" if row is None else "Row"
        self.prefix = f"{word} {self.number}: " if self.number else ""
