"""Says what a refused file is, if it has another format than jobs take, and what to do with it."""

from core.datasets.formats.compression import compression_of
from core.datasets.formats.reading import PARQUET, format_of
from core.datasets.formats.unreadable import Unreadable

CONTAINERS = {"json_array": " in a JSON array", "csv": " in a CSV file"}
GUESSED = ("text",)  # any broken file looks like lines of text
TAKEN = 'JSON lines such as {"messages": [{"role": …, "content": …}, …]}'
CONVERT = (
    "Convert it: upload it with the purpose user_data and POST /v1/files/{id}/convert, or run `tunery files "
    "convert PATH`."
)


def other_format(head: bytes, max_row_bytes: int) -> str | None:
    """Return sentences about a file of another format, by its first bytes. None if it shows none."""
    try:
        compression = compression_of(head)
    except Unreadable as error:
        message = str(error)
        return f"{message[:1].upper()}{message[1:]}."
    if compression is not None:
        return f"The file is compressed with {compression}, and a job takes JSON lines as they are. {CONVERT}"
    if head.startswith(PARQUET):
        return f"The file is Parquet, and a job takes JSON lines. {CONVERT}"
    found = format_of(head, max_row_bytes)
    if found is None or found.native or found.container in GUESSED:
        return None
    where = CONTAINERS.get(found.container, "")
    return f"The file holds {found.words}{where}, and a job takes {TAKEN}. {CONVERT}"
