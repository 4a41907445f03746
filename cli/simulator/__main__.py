"""`python -m cli.simulator --port N`: the simulator as a process of its own."""

import asyncio
import signal
import sys

import click
import uvloop

from cli.simulator.server import Simulator


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), required=True, help="0 takes a free port, which the first line names."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Answers and random errors follow from it.")
def main(host: str, port: int, seed: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    uvloop.run(_serve(host, port, seed))


async def _serve(host: str, port: int, seed: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    simulator = Simulator(seed)
    server = await loop.create_server(simulator.connection, host, port, backlog=4096)
    bound = server.sockets[0].getsockname()
    sys.stdout.write(f"simulator ready http://{bound[0]}:{bound[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    simulator.close()


if __name__ == "__main__":
    main()
