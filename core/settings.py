"""Every setting, its default and its meaning, read from environment variables and checked at start.

One class per owner: a process reads only what concerns it. ``.env.example`` lists the same names (a test compares them).
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LANES = ("interactive", "default", "bulk", "prewarm", "webhooks", "maintenance")
JOB_LANES = ("interactive", "default", "bulk", "prewarm")
SUBMIT_LANES = ("interactive", "default", "bulk")


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]


class Settings(BaseSettings):
    """What every process needs: where things are and what they are called."""

    model_config = SettingsConfigDict(env_prefix="COATCHECK_", extra="ignore", frozen=True)

    database_url: str = Field(
        "postgresql+asyncpg://coatcheck@localhost/coatcheck",
        description="Postgres 15 or newer; the role of this URL owns the schema.",
    )
    redis_url: str = Field(
        "redis://localhost:6379/0", description="Redis 6.2 or newer: wake-ups, live deltas, rate buckets."
    )
    broker_url: str = Field("redis://localhost:6379/1", description="Any Celery broker; it carries doorbells only.")
    catalog: Path = Field(Path("catalog.toml"), description="The file that lists models and deployments.")
    simulator_url: str | None = Field(
        None, description="Where the simulator listens; adds the sim/… models to the catalog."
    )
    public_url: str = Field(
        "http://127.0.0.1:8000", description="What absolute URLs in answers and webhooks start with."
    )
    secret_key: SecretStr | None = Field(
        None, description="32 random bytes in base64; encrypts webhook secrets. Make one with: openssl rand -base64 32"
    )
    retention_days: float = Field(30.0, gt=0, description="Finished jobs are deleted after so many days.")
    redis_timeout_s: float = Field(2.0, gt=0, description="Longest wait for one Redis answer, in seconds.")
    database_connect_timeout_s: float = Field(
        5.0, gt=0, description="Longest wait for a database connection, in seconds."
    )
    statement_timeout_s: float = Field(
        30.0,
        gt=0,
        description="Longest single database statement, in seconds; what somebody waits for may take 10 at most.",
    )
    broker_publish_timeout_s: float = Field(1.0, gt=0, description="Longest a doorbell may take before it is given up.")
    broker_socket_timeout_s: float = Field(5.0, gt=0, description="Longest silence on a broker connection, in seconds.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_format: str = Field("json", pattern="^(json|console)$", description="json for machines, console for people.")


class ApiSettings(BaseSettings):
    """The HTTP API's own settings."""

    model_config = SettingsConfigDict(env_prefix="COATCHECK_API_", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=64, description="API processes on this port.")
    max_body_bytes: int = Field(10 * 2**20, gt=0, description="Largest request body.")
    max_bulk_bytes: int = Field(64 * 2**20, gt=0, description="Largest body of POST /v1/jobs/bulk.")
    max_bulk_jobs: int = Field(10_000, gt=0, description="Most jobs in one bulk request.")
    body_idle_timeout_s: float = Field(10.0, gt=0, description="Longest pause within a request body before 408.")
    body_timeout_s: float = Field(30.0, gt=0, description="Longest time for a whole request body before 408.")
    database_pool: int = Field(12, ge=2, description="Database connections of one API process.")
    commit_max_jobs: int = Field(256, ge=1, description="Most jobs in one group commit.")
    committers: int = Field(2, ge=1, description="Group commits under way at once in one process.")
    poll_s: float = Field(1.0, gt=0, description="How often awaited jobs are re-read while Redis is there.")
    poll_without_redis_s: float = Field(
        0.25, gt=0, description="How often awaited jobs are re-read while Redis is away."
    )
    sse_keepalive_s: float = Field(15.0, gt=0, description="A comment line this often keeps proxies awake.")
    key_cache_s: float = Field(30.0, gt=0, description="How long an API key's row is remembered.")
    shutdown_grace_s: float = Field(3.0, gt=0, description="Long-polls and streams end within this time at shutdown.")


class WorkerSettings(BaseSettings):
    """The worker's own settings."""

    model_config = SettingsConfigDict(env_prefix="COATCHECK_WORKER_", extra="ignore", frozen=True)

    lanes: Words = Field(LANES, description="Lanes that this worker serves, separated by commas.")
    max_in_flight: int = Field(2048, ge=1, description="Most jobs that run at once in one process.")
    claim_limit: int = Field(256, ge=1, description="Most jobs in one claim.")
    reserved_slots: int = Field(16, ge=0, description="Slots kept free for each other lane while one lane is busy.")
    max_body_bytes_in_flight: int = Field(
        64 * 2**20, gt=0, description="Bodies of running jobs in one process, in bytes."
    )
    lease_s: float = Field(15.0, gt=0, description="A worker that has not renewed for so long has lost its jobs.")
    heartbeat_s: float = Field(3.0, gt=0, description="How often a worker renews its lease.")
    sweep_s: float = Field(1.0, gt=0, description="How often a worker looks for due, expired and orphaned jobs.")
    grace_s: float = Field(
        25.0, ge=0, description="How long running jobs may finish after SIGTERM before they are handed back."
    )
    database_pool: int = Field(10, ge=3, description="Database connections of one worker process.")
    finish_max_jobs: int = Field(256, ge=1, description="Most results in one group commit.")
    delta_flush_ms: int = Field(100, ge=1, description="Streamed deltas reach the database at least this often.")
    upstream_batch_collect_s: float = Field(
        10.0,
        gt=0,
        description="How long bulk jobs wait for company before a batch of them goes to an upstream's Batch API.",
    )
    upstream_batch_poll_s: float = Field(
        30.0, gt=0, description="How often an upstream is asked whether a batch is done."
    )
    upstream_batch_max_jobs: int = Field(5000, ge=1, le=50_000, description="Most jobs in one such batch.")

    @property
    def lease(self) -> timedelta:
        """The lease as a timedelta, for SQL intervals."""
        return timedelta(seconds=self.lease_s)


class WebhookSettings(BaseSettings):
    """What may be dialled, and how often."""

    model_config = SettingsConfigDict(env_prefix="COATCHECK_WEBHOOK_", extra="ignore", frozen=True)

    allow_ranges: Words = Field(
        (),
        description="Networks (CIDR, comma-separated) that webhooks may reach although private, by http and any port too.",
    )
    allow_http: bool = Field(default=False, description="Allow http besides https everywhere.")
    allow_any_port: bool = Field(default=False, description="Allow ports other than 443 and 8443 everywhere.")
    schedule_s: Annotated[tuple[float, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        description="Waits between the tries of one delivery, in seconds, comma-separated.",
    )
    timeout_s: float = Field(15.0, gt=0, description="Longest single try, in seconds.")
    max_in_flight: int = Field(1024, ge=1, description="Tries in flight in one process.")
    max_in_flight_per_endpoint: int = Field(32, ge=1, description="Tries in flight to one endpoint.")
    lease_s: float = Field(30.0, gt=0, description="A try not reported for so long is made again; above the timeout.")


class CacheSettings(BaseSettings):
    """How much is kept of answers, and for how long."""

    model_config = SettingsConfigDict(env_prefix="COATCHECK_CACHE_", extra="ignore", frozen=True)

    ttl_s: float = Field(86_400.0, gt=0, description="An answer is kept for so long where its job does not say.")
    tenant_bytes: int = Field(
        64 * 2**20, ge=0, description="What one tenant's kept answers may weigh in Redis, in bytes; 0 keeps none."
    )
    entry_bytes: int = Field(4 * 2**20, gt=0, description="The largest answer that is kept, in bytes as stored.")
    wait_s: float = Field(0.05, gt=0, description="Longest wait for a look-up; a later answer counts as none.")
    semantic_entries: int = Field(
        100_000, ge=0, description="Questions of one tenant that near ones are looked for among; 0 turns that off."
    )
    semantic_wait_s: float = Field(0.25, gt=0, description="Longest wait for near questions, in seconds.")
    shadow_days: float = Field(14.0, gt=0, description="What shadow mode recorded is deleted after so many days.")
    shadow_records: int = Field(10_000, ge=0, description="Most such records of one tenant.")
