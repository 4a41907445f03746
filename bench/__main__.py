"""`python -m bench [names…] [--json FILE] [--quick]`: run benchmarks, print a table, write JSON."""

import argparse
import logging
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench import jobs
from bench.figures import Figure
from bench.machine import load_average, machine_facts
from bench.measures import (
    affinity,
    backlog,
    batching,
    cached,
    cached_semantic,
    complexity,
    drain,
    enqueue,
    failover,
    forecast,
    hedging,
    idle,
    limits,
    memory,
    overhead,
    prewarm,
    screening,
    stragglers,
    webhooks,
    zipf,
)
from bench.report import print_report, write_json
from bench.sizes import Sizes, quick
from bench.world import World, open_world

BENCHES: dict[str, Callable[[World], list[Figure]]] = {
    "enqueue": enqueue.measure,
    "overhead": overhead.measure,
    "drain": drain.measure,
    "stragglers": stragglers.measure,
    "backlog": backlog.measure,
    "webhooks": webhooks.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "batching": batching.measure,
    "complexity": complexity.measure,
    "failover": failover.measure,
    "affinity": affinity.measure,
    "hedging": hedging.measure,
    "limits": limits.measure,
    "screening": screening.measure,
    "cached": cached.measure,
    "semantic": cached_semantic.measure,
    "prewarm": prewarm.measure,
    "zipf": zipf.measure,
    "forecast": forecast.measure,
}
_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what is asked for; 0 when every goal was reached, 1 otherwise, 2 when something could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Coatcheck, and plain Celery beside it."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"which: {', '.join(BENCHES)} (default: all)")
    parser.add_argument(
        "--json", type=Path, help="where to write the numbers (default for a full run: bench/results/latest.json)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small amounts, for a look: some minutes instead of twenty"
    )
    parser.add_argument("--folder", type=Path, help="where the database lies (default: a temporary folder)")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHES)):
        parser.error(f"unknown {', '.join(unknown)}: choose from {', '.join(BENCHES)}")
    chosen = [name for name in BENCHES if name in options.names or not options.names]
    whole = len(chosen) == len(BENCHES) and not options.quick
    target = options.json or (_RESULTS / "latest.json" if whole else _RESULTS / "local" / "partial.json")
    # Interrupted or told to stop, everything that was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.getLogger("alembic").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="cc-bench-", dir=options.folder))
    try:
        return _run(chosen, folder, quick() if options.quick else Sizes(), target, is_quick=options.quick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(chosen: list[str], folder: Path, sizes: Sizes, target: Path, *, is_quick: bool) -> int:
    console = Console(width=None if sys.stdout.isatty() else 150)
    progress = Console(stderr=True)
    machine = machine_facts(folder)
    figures: list[Figure] = []
    failed: list[str] = []
    began = time.monotonic()
    with open_world(folder, sizes, lambda line: progress.print(f"  {line}", style="dim", highlight=False)) as world:
        jobs.make_tenant(world)
        for name in chosen:
            progress.print(f"[bold]{name}[/] ({time.monotonic() - began:.0f} s)", highlight=False)
            try:
                figures += BENCHES[name](world)
            except Exception as error:  # noqa: BLE001 - one benchmark that fails must not take the others' numbers with it
                progress.print(f"[bold red]{name} failed[/]: {error!r}", highlight=False)
                failed.append(name)
    machine["load_average_after"] = load_average()
    machine["seconds"] = round(time.monotonic() - began)
    print_report(console, figures, machine)
    if is_quick:
        console.print("  --quick: small amounts, good for comparing two of them, not for judging goals", style="dim")
    write_json(target, figures, machine, quick=is_quick)
    console.print(f"  written to {target}", style="dim", highlight=False)
    if failed:
        return 2
    return 0 if all(figure.passed is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
