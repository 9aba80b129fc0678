"""Writes docs/reference/settings.md and docs/reference/metrics.md from the code.

.venv/bin/python docs/generate.py            # writes the pages
.venv/bin/python docs/generate.py --check    # exits with 1 if one is not up to date
"""

import re
import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from core.monitoring.declared import MOST_PROJECTS, Program, all_declared
from core.settings import Settings
from core.settings.files import FileFields
from core.settings.graders import GraderFields
from core.settings.outside import OutsideFields
from core.settings.projects import ProjectFields
from core.settings.retention import RetentionFields
from core.settings.servers import ServerFields
from core.settings.service import ServiceFields
from core.settings.serving import ServingFields
from core.settings.sign_on import SignOnFields
from core.settings.tasks import TaskFields
from core.settings.training import TrainingFields
from core.settings.workers import WorkerFields

SETTINGS_PAGE = Path(__file__).parent / "reference/settings.md"
METRICS_PAGE = Path(__file__).parent / "reference/metrics.md"
MIB = 1024**2
SECTIONS: dict[type[Any], str] = {
    ServerFields: "The servers",
    ServiceFields: "The service",
    WorkerFields: "Workers and their devices",
    TrainingFields: "Training",
    TaskFields: "Tasks",
    GraderFields: "Graders",
    ServingFields: "Chats and completions",
    FileFields: "Files, adapters and rows",
    ProjectFields: "Projects and their quotas",
    RetentionFields: "Retention and backups",
    OutsideFields: "Secrets, webhooks, signatures, trackers",
    SignOnFields: "Sign-on",
}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
HEAD = """# Settings

<!-- Written by docs/generate.py from core/settings; change it there. -->

Every setting is an environment variable. A process reads it once, when it starts. An empty variable counts
as not set. If a value is wrong, the process ends with a message that names the variable.

`tunery up` also takes the options `--home`, `--host` and `--port`, and `tunery api` takes `--host` and
`--port`. An option wins over its variable.

The first four variables belong together. Set all of them, or set none and let `tunery up` start its own
servers.
"""
TAIL = """
## Other variables

- The credentials of the object store are `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
  `AWS_DEFAULT_REGION`, or any others that boto3 reads.
- The commands for clients read `TUNERY_BASE_URL` and `TUNERY_API_KEY`: see [the command line](cli.md).
- Trainers and servers start with settings for the memory allocator, for OpenMP and for the Hugging Face
  libraries (`TRAINER_ENVIRONMENT` in `worker/process/environment.py`).
  A variable that is already set wins over them.
- `HF_TOKEN`, `HF_HOME` and `HF_ENDPOINT` are settings of the Hugging Face hub's client, which loads base
  models with `source = "hub"`. Exports are pushed to the hub of `HF_ENDPOINT` too, but with a token of the
  project.
"""

METRICS_HEAD = f"""# Service metrics

<!-- Written by docs/generate.py from core/monitoring/declared.py; change it there. -->

These are all metrics that Prometheus can read of a running service. [Metrics and
alerts](../operate/metrics.md) says how. Besides, the pages of the API and of workers have the usual
`process_…` of `prometheus_client`.

No label holds an id of a job. `project` holds the ids of at most {MOST_PROJECTS} projects. In the figures of
the queue, the projects beyond these are `others`.
"""
PROGRAMS: dict[Program, tuple[str, str]] = {
    "api": ("The API", "Each process counts its own requests."),
    "database": (
        "The whole service",
        "The page of each API process has these figures, which it reads from the database. All processes "
        "tell the same, so take the maximum over them, not the sum. A page repeats them for five seconds, "
        "and those of stored bytes for a minute.",
    ),
    "worker": ("A worker", "The page of a worker has these."),
    "trainer": (
        "A trainer",
        "The page of its worker has these. With each new trainer, the counters begin at 0.",
    ),
    "server": ("A server", "`GET /metrics` of a server, at its own port, has these."),
}


def metrics_page() -> str:
    sections = []
    for program, (title, told) in PROGRAMS.items():
        rows = [("metric", "kind", "labels", "meaning"), ("---",) * 4]
        for metric in all_declared():
            if metric.program == program:
                labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
                rows.append((f"`{metric.name}`", metric.kind, labels, metric.meaning))
        table = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
        sections.append(f"\n## {title}\n\n{told}\n\n{table}")
    return METRICS_HEAD + "".join(sections)


def settings_page() -> str:
    groups: list[type[Any]] = list(reversed(Settings.__bases__))
    sections = [f"\n## {SECTIONS[group]}\n\n{_table(group.model_fields)}" for group in groups]
    return HEAD + "".join(sections) + TAIL


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = [
        (f"`TUNERY_{name.upper()}`", _default(name, field.default), field.description or "", _allowed(field))
        for name, field in fields.items()
    ]
    table = [("variable", "default", "meaning", "allowed"), ("---",) * 4, *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def _default(name: str, value: Any) -> str:
    if value is None:
        return "–"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" + (f" ({value // MIB} MiB)" if name.endswith("_bytes") and value >= MIB else "")


def _allowed(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "true, false"
    found = []
    for rule in field.metadata:
        found += [f"{sign} {getattr(rule, name)}" for name, sign in SIGNS.items() if hasattr(rule, name)]
        if pattern := getattr(rule, "pattern", None):
            choices = re.fullmatch(r"\^\(([\w|]+)\)\$", pattern)
            found.append(choices[1].replace("|", ", ") if choices else f"`{pattern}`".replace("|", "\\|"))
    return ", ".join(found)


def main() -> None:
    for path, page in {SETTINGS_PAGE: settings_page(), METRICS_PAGE: metrics_page()}.items():
        if "--check" not in sys.argv:
            path.write_text(page, "utf-8")
        elif path.read_text("utf-8") != page:
            sys.exit(f"{path} is not up to date. Run python docs/generate.py.")


if __name__ == "__main__":
    main()
