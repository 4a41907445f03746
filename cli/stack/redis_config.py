"""Configuration of the embedded Redis, rewritten at every start; change it here, not in the data folder."""

from pathlib import Path

SETTINGS = """\
# Written by coatcheck at every start.

# No TCP: the bundled server is an old version, so only this user's processes may reach it, through a private folder.
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{folder}"
daemonize no
databases 16

# Nothing is kept on disk: what Redis holds (doorbells, caches, rate buckets, live text) is rebuilt or missed without
# harm, Postgres is the truth, and a fork to save would cost memory and time in the middle of work.
save ""
appendonly no

# Evicting a key would silently drop doorbells; a full Redis answers with an error, which every caller survives.
maxmemory 512mb
maxmemory-policy noeviction
client-output-buffer-limit pubsub 64mb 16mb 30
tcp-backlog 511
"""


def config_text(folder: Path, socket: Path) -> str:
    """The server's configuration file."""
    return SETTINGS.format(folder=folder, socket=socket)
