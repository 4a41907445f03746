"""Configuration of the embedded Postgres, rewritten at every start; change it here, not in the data folder."""

from pathlib import Path

# Run once in single-user mode, one statement a line, in template1: whatever is there every later database has too.
BOOTSTRAP = """\
create extension vector;
create role coatcheck login createrole createdb;
create database coatcheck owner coatcheck;
"""

SETTINGS = """\
# Written by coatcheck at every start.

# No TCP at all: only this user can enter the folder of the socket, and peer authentication checks the user again.
listen_addresses = ''
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 120                   # every API and worker process brings a small pool

# Durability: a 202 leaves only after the commit is on disk.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = off                   # pglz, the only one in this build, takes 0.2 ms a page, in the middle of a claim
min_wal_size = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
wal_level = minimal                     # no replicas here: less to write
max_wal_senders = 0
max_logical_replication_workers = 0

# One small machine that Postgres shares with the API and the workers.
shared_buffers = 256MB                  # taken from the system only as it is used
effective_cache_size = 1GB
work_mem = 8MB
maintenance_work_mem = 64MB
max_parallel_workers_per_gather = 0     # short queries; the cores belong to the API and the workers
random_page_cost = 1.1
jit = off
huge_pages = off
dynamic_shared_memory_type = mmap       # a container's /dev/shm is often too small

# Queue tables change all the time: vacuum them early and in small steps.
autovacuum_naptime = 30s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_analyze_scale_factor = 0.05
autovacuum_vacuum_cost_limit = 400
autovacuum_max_workers = 2

timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
log_autovacuum_min_duration = 5s
"""

ACCESS = """\
# Written by coatcheck at every start: only the user of the stack, only through the socket.
local all all peer map=stack
"""


def config_files(sockets: Path, peers: tuple[str, ...]) -> dict[str, str]:
    """The configuration files of the data folder by name; `peers` are the operating system users that may connect."""
    users = "".join(f'stack "{peer}" {role}\n' for peer in peers for role in ("coatcheck", "postgres"))
    return {
        "postgresql.conf": SETTINGS.format(sockets=sockets),
        "pg_hba.conf": ACCESS,
        "pg_ident.conf": f"# Written by coatcheck at every start.\n{users}",
    }
