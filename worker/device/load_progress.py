"""How far the load of a base model has come, for the log and for those who wait for it."""

from time import monotonic

import structlog

from worker.base_models.telling import Tell, untold

SHARES = 20  # into which a load is divided: each is told once, so that a short one says little

log = structlog.get_logger()


class LoadProgress:
    """Hears how much of a base model has been read. May be looked at from any thread."""

    def __init__(self, model: str, tell: Tell = untold) -> None:
        """`tell` is called at the beginning, and after each share."""
        self._model, self._tell = model, tell
        self._told = -1
        self._text = "its files are looked for"
        self.moved_at = monotonic()
        """The time of the last progress"""

    def __str__(self) -> str:
        return self._text

    def __call__(self, read: int, of: int) -> None:
        """Take in that so many bytes have been read, and of how many."""
        self.moved_at = monotonic()
        self._text = f"{read / 1e9:.1f} of {of / 1e9:.1f} GB are read"
        if read == of:
            self._text = f"all {of / 1e9:.1f} GB are read, and the model is made ready"
        if read == 0:  # again, if a quantised copy turns out to be damaged
            self._told = -1
        if (share := SHARES * read // max(of, 1)) > self._told:
            self._told = share
            log.info("loading_base_model", model=self._model, read_bytes=read, of_bytes=of)
            self._tell(read, of)
