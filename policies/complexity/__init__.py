"""How hard is a prompt: simple, medium, complex, or a matter of reasoning?

Pure: `classify` takes the prompt and the embedding of its `gist`, and tells a tier with its reason in words. The weights lie
beside this file; `training/complexity` has the prompts they were learned from, the program that learns them, and its report.
"""

from policies.complexity.classifier import SURE, TIERS, Verdict, classify
from policies.complexity.features import gist

__all__ = ["SURE", "TIERS", "Verdict", "classify", "gist"]
