"""Makes the API's OpenAPI document without a server: `python -m api.document FILE` writes it."""

import json
import sys
from pathlib import Path
from typing import Any

from api.app import create_app
from core.settings import Settings


def openapi_document() -> dict[str, Any]:
    """Return the document that a running API serves. Connects to nothing."""
    return create_app(_anywhere()).openapi()


def _anywhere() -> Settings:
    """Return settings with servers that nobody connects to."""
    address = "127.0.0.1:1"
    return Settings(
        database_url=f"postgresql://{address}/none",
        broker_url=f"redis://{address}/0",
        s3_endpoint_url=f"http://{address}",
        s3_bucket="none",
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(openapi_document(), indent=1), "utf-8")
