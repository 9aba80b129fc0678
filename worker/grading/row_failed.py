"""The error of a row that cannot be judged. The other rows go on."""

from core.errors import TuneryError


class RowFailed(TuneryError):
    """Why one row cannot be judged. It becomes the `error` of the row's record."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message
