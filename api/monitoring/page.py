"""The API's page for Prometheus."""

from api.monitoring.database import DatabaseFigures
from core.database import create_database, session_factory
from core.monitoring.page import MetricsPage
from core.monitoring.recorder import Recorder
from core.settings import Settings


def start_page(settings: Settings, recorder: Recorder) -> MetricsPage | None:
    """Show the metrics on the port of the settings; without one, return None. Raises ConfigurationError.

    The figures have two connections of their own: they take none from requests, and wait for none.
    """
    if settings.api_metrics_port is None:
        return None
    sessions = session_factory(create_database(settings.server("database_url"), pool_size=2))
    figures = DatabaseFigures(sessions, settings.project_stored_bytes)
    return MetricsPage.start(settings.metrics_host, settings.api_metrics_port, [recorder.registry, figures])
