"""`tunery doctor`: checks whether this machine can run the service and whether the service runs."""

from cli.client import output
from cli.client.client import ApiKey, BaseUrl
from cli.client.errors import GaveUp
from cli.client.home import DEFAULT_HOME, HomeOption


def doctor(
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Check the machine, the libraries, the servers and your key; say how to repair what is wrong."""
    from dataclasses import asdict

    from cli.checks import machine, service
    from cli.checks.printing import print_checks

    checks = [*machine.checks(home), *service.checks(home, base_url, api_key)]
    broken = [check.name for check in checks if check.state == "fail"]
    if json:
        output.json({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        print_checks(checks)
    if broken:
        raise GaveUp(f"Broken: {', '.join(broken)}")
