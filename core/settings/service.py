"""These settings say where the service keeps its data, listens and logs."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class ServiceFields(BaseSettings):
    """The settings of the service itself: its folder, its addresses, its log."""

    home: Path = Field(
        Path(".tunery"),
        description="Folder for the data of the embedded servers, the base models and the first API key",
    )
    host: str = Field("127.0.0.1", description="Address on which the API listens")
    port: int = Field(8000, ge=1, le=65535, description="Port on which the API listens")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]*[^\s?#/]$",
        description="Address at which people open the dashboard, such as https://tunery.example.com. With "
        "it, the `report_url` of an eval's run leads to the run's page; without it, it is empty",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address of the pages for Prometheus. They need no key, so let nobody else reach it",
    )
    api_metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the API's page for Prometheus; 0 takes a port that is free. Without it there is "
        "no page, but `tunery up` chooses a port",
    )
    worker_metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of a worker's page for Prometheus, with what its trainer counts; 0 takes a port "
        "that is free. Without it there is no page, but `tunery up` chooses a port",
    )
    log_level: str = Field(
        "info",
        pattern=r"^(debug|info|warning|error)$",
        description="Lowest level of the lines that are logged",
    )
    log_json: bool = Field(False, description="One JSON object per log line instead of text")
