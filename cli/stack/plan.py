"""What `coatcheck up` will run: which servers are ours, which ports, which programs, with which environment."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from cli.stack import ports
from cli.stack.folders import private_folder, socket_folder
from cli.stack.leftovers import MARK
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.programs import Program, python
from cli.stack.redis import EmbeddedRedis
from cli.stack.server import clean_environment
from cli.stack.state import Secrets

FLOWER_USER = "coatcheck"

# All parts together must be gone within 15 seconds: the worker hands back what it can't finish in this time.
WORKER_GRACE_S = "4"
# A program that can't work often fails only after its imports; it shall not be restarted at once for ever.
IMPORT_SECONDS = 4


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The command line of `coatcheck up`; `port_wanted` is true when the port was given explicitly."""

    root: Path
    port: int
    port_wanted: bool
    workers: int
    api_workers: int
    catalog: Path
    simulate: bool


@dataclass(slots=True)
class StackPlan:
    """Everything decided before the first process starts."""

    root: Path
    sockets: Path
    host: str
    api_port: int
    flower_port: int
    simulator_port: int | None
    postgres: EmbeddedPostgres | None
    redis: EmbeddedRedis | None
    database_url: str
    redis_url: str
    broker_url: str
    secrets: Secrets
    environment: dict[str, str] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)

    @property
    def api_url(self) -> str:
        """Where this machine reaches the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.api_port}"

    @property
    def flower_url(self) -> str:
        """Flower's address with its user and generated password."""
        return f"http://{FLOWER_USER}:{self.secrets.flower_password}@127.0.0.1:{self.flower_port}"


def make_plan(options: UpOptions) -> StackPlan:
    """Choose ports and servers. Raises PortTaken, ServerFailed, FolderRefused, ValueError."""
    root = private_folder(options.root)
    private_folder(root / "logs")
    own_database, own_redis, own_broker = (
        os.environ.get(f"COATCHECK_{name}_URL") for name in ("DATABASE", "REDIS", "BROKER")
    )
    host = os.environ.get("COATCHECK_API_HOST", "127.0.0.1")
    api_port = ports.choose(host, options.port, insist=options.port_wanted)
    postgres = None if own_database else EmbeddedPostgres(root)
    redis = None if own_redis and own_broker else EmbeddedRedis(root)
    plan = StackPlan(
        root=root,
        sockets=socket_folder(root),
        host=host,
        api_port=api_port,
        flower_port=ports.choose("127.0.0.1", 5555, insist=False),
        simulator_port=ports.any_free("127.0.0.1") if options.simulate else None,
        postgres=postgres,
        redis=redis,
        database_url=own_database or (postgres.url if postgres else ""),
        redis_url=own_redis or (redis.url if redis else ""),
        broker_url=own_broker or (redis.broker_url if redis else ""),
        secrets=Secrets.load(root),
    )
    plan.environment = _environment(plan, options)
    plan.programs = _programs(plan, options)
    return plan


def _environment(plan: StackPlan, options: UpOptions) -> dict[str, str]:
    """The children's environment: ours for what the stack decides, the user's for everything else."""
    decided = {
        MARK: str(plan.root),
        "COATCHECK_DATABASE_URL": plan.database_url,
        "COATCHECK_REDIS_URL": plan.redis_url,
        "COATCHECK_BROKER_URL": plan.broker_url,
        "COATCHECK_CATALOG": str(options.catalog),
        "COATCHECK_API_HOST": plan.host,
        "COATCHECK_API_PORT": str(plan.api_port),
        "COATCHECK_API_WORKERS": str(options.api_workers),
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(plan.flower_port),
        "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{plan.secrets.flower_password}",
        "FLOWER_MAX_TASKS": "10000",
        "FLOWER_PURGE_OFFLINE_WORKERS": "600",
    }
    if plan.simulator_port is not None:
        decided["COATCHECK_SIMULATOR_URL"] = f"http://127.0.0.1:{plan.simulator_port}"
    if plan.postgres is not None:
        decided["PGDATA"] = str(plan.postgres.cluster)
    usual = {
        "COATCHECK_PUBLIC_URL": plan.api_url,
        "COATCHECK_SECRET_KEY": plan.secrets.secret_key,
        "COATCHECK_WORKER_GRACE_S": WORKER_GRACE_S,
        "COATCHECK_WEBHOOK_ALLOW_RANGES": "127.0.0.0/8,::1/128",
        "PYTHONUNBUFFERED": "1",
    }
    return usual | clean_environment() | decided


def _programs(plan: StackPlan, options: UpOptions) -> list[Program]:
    """The programs; the highest priority is stopped first."""
    programs = [
        Program("api", python("-m", "api"), 90, stop_seconds=4, start_seconds=IMPORT_SECONDS),
        Program(
            "worker",
            python("-m", "workers"),
            80,
            stop_seconds=6,
            start_seconds=IMPORT_SECONDS,
            processes=options.workers,
        ),
        Program("beat", python("-m", "workers.beat"), 70, start_seconds=IMPORT_SECONDS),
        # Flower keeps nothing and waits at its end for answers from workers that are gone already.
        Program(
            "flower",
            python("-m", "celery", "-A", "workers.app", "flower"),
            60,
            stop_signal="KILL",
            start_seconds=IMPORT_SECONDS,
        ),
    ]
    if plan.simulator_port is not None:
        simulator = python("-m", "cli.simulator", "--port", str(plan.simulator_port))
        programs.append(Program("simulator", simulator, 50))
    if plan.redis is not None:
        programs.append(Program("redis", plan.redis.supervised_command(), 20))
    if plan.postgres is not None:
        # INT is Postgres' fast shutdown: it does not wait for clients.
        programs.append(Program("postgres", plan.postgres.supervised_command(), 10, stop_signal="INT", stop_seconds=5))
    return programs
