"""`python -m tests.soak --seconds 120 --seed 7`: random faults under load, then calm, then a check of everything promised."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import click

from tests.soak import plan
from tests.soak.run import soak


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True, help="How long things go wrong.")
@click.option("--seed", type=int, default=1, show_default=True, help="Faults and requests follow from it.")
@click.option(
    "--runs", type=click.IntRange(1), default=1, show_default=True, help="So many seeds, one after the other."
)
@click.option("--clients", type=click.IntRange(1), default=6, show_default=True, help="How many ask at once.")
@click.option("--keep", is_flag=True, help="Keep the logs of all processes also where nothing was wrong.")
def main(seconds: float, seed: int, runs: int, clients: int, keep: bool) -> None:
    """Exit with 0 only if no promise was broken."""
    broken = False
    for number in range(seed, seed + runs):
        folder = Path(tempfile.mkdtemp(prefix=f"cc-soak-{number}-"))
        click.echo(f"seed {number}: {len(plan.draw(number, seconds))} faults in {seconds:g} s, logs in {folder}")
        outcome = asyncio.run(soak(number, seconds, folder, clients=clients))
        for fault in outcome.faults:
            click.echo(f"  {fault}")
        click.echo(f"  jobs {dict(outcome.jobs)}, accepted {dict(outcome.kinds)}, answers {dict(outcome.answers)}")
        click.echo(
            f"  everything had ended {outcome.calm_s:.1f} s after the last fault; "
            f"the slowest answer took {outcome.slowest_s:.1f} s"
        )
        for violation in outcome.violations:
            click.echo(f"  VIOLATION {violation}")
        click.echo(f"seed {number}: {len(outcome.violations)} violations")
        broken = broken or bool(outcome.violations)
        if not outcome.violations and not keep:
            shutil.rmtree(folder)
    sys.exit(broken)


if __name__ == "__main__":
    main()
