"""`python -m training.complexity.train`: learn how hard prompts are, and report how well it went.

Reads `prompts/*.jsonl`, writes `policies/complexity/weights.npz` and `report.md`. Nothing here is left to chance: the same
prompts give the same weights. What is held out is decided by a hash of the text; it is looked at only to write the report.
"""

import argparse
import sys
from typing import Final

import numpy as np

from policies.complexity.classifier import WEIGHTS
from training.complexity.labelled import HERE, Measured, measure, read_prompts
from training.complexity.learning import cross_validated, fit, told_of
from training.complexity.report import exact, far_too_low, goals_reached, report, well_served

TARGET: Final = HERE.parents[1] / "policies" / "complexity" / WEIGHTS
_TRIED: Final = ((0.0, 1.0), (0.5, 1.0), (0.6, 1.0), (0.6, 0.35), (0.6, 0.25), (0.6, 0.2), (0.7, 0.25))


def main() -> int:
    """Train, write weights and report; 1 when the held-out part misses its goals."""
    parser = argparse.ArgumentParser(prog="python -m training.complexity.train")
    parser.add_argument("--cv", action="store_true", help="only cross-validate on the training part, and write nothing")
    options = parser.parse_args()
    prompts = read_prompts()
    data = measure(prompts)
    held_out = np.array([prompt.held_out for prompt in prompts])
    if options.cv:
        _cross_validate(data.part(~held_out))
        return 0
    weights = fit(data.part(~held_out))
    TARGET.write_bytes(weights.dump())
    (HERE / "report.md").write_text(report(prompts, data, weights), encoding="utf-8")
    kept = data.part(held_out)
    told = told_of([prompt for prompt in prompts if prompt.held_out], kept, weights)
    return 0 if goals_reached(told, kept.tiers) else 1


def _cross_validate(training: Measured) -> None:
    for sure, demanding in _TRIED:
        told = cross_validated(training, sure, demanding)
        sys.stdout.write(
            f"sure {sure:.2f}, demanding {demanding:.2f}: exact {exact(told, training.tiers):.1%}, two tiers too low "
            f"{far_too_low(told, training.tiers):.1%}, demanding ones served {well_served(told, training.tiers):.1%}\n"
        )


if __name__ == "__main__":
    sys.exit(main())
