"""`tunery methods`: lists the methods of adaptation on offer."""

from cli.client import output
from cli.client.client import ApiKey, BaseUrl, connect
from cli.client.home import DEFAULT_HOME, HomeOption

COLUMNS = ("id", "title", "trains", "learning_rate", "runtimes", "good_for")


def methods(
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """List the methods on offer for a job's adapter; with --json, also their options."""
    with connect(home, base_url, api_key) as client:
        found = client.get("/methods")["data"]
    output.json(found) if json else output.table(found, COLUMNS)
