"""`idle`: what `coatcheck up` costs while nobody wants anything."""

import signal
import time
from pathlib import Path

from bench.figures import Figure, Must
from bench.processes import Process
from bench.world import World, free_port

_SETTLE_S = 5.0


def measure(world: World) -> list[Figure]:
    """Start the whole stack as a user does and add up the CPU time of all its processes."""
    root = world.folder / "idle"
    root.mkdir(mode=0o700)
    seconds = world.sizes.idle_s
    arguments = ["-m", "cli", "up", "--data-dir", str(root), "--port", str(free_port())]
    world.say("starting the whole stack")
    environment = {name: value for name, value in world.environment().items() if not name.startswith("COATCHECK_")}
    with Process(arguments, environment, _log(world), (root / "stack.json").exists) as stack:
        time.sleep(_SETTLE_S)
        world.say(f"watching it idle for {seconds:.0f} s")
        before, began = stack.cpu_s(), time.monotonic()
        time.sleep(seconds)
        used, took = stack.cpu_s() - before, time.monotonic() - began
        stack.stop(signal.SIGINT)
    note = f"API, two workers, beat, Flower, Postgres, Redis, simulator and supervisor over {took:.0f} s"
    return [Figure("idle", "CPU of the whole stack", 100 * used / took, "% of a core", Must("≤", 5), None, note)]


def _log(world: World) -> Path:
    return world.log("idle-up")
