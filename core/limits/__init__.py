"""Limits per key and tenant: tokens a minute, jobs in flight and queued, budgets.

`accounts` keeps the amounts in Redis, `gate` holds back jobs in the workers; `api.limits` refuses submissions. Without Redis each
process keeps its own accounts, with its share of the limits that Postgres does not know.
"""

from core.limits.accounts import Accounts
from core.limits.estimates import expected
from core.limits.gate import Batched, Candidate, Gate

__all__ = ["Accounts", "Batched", "Candidate", "Gate", "expected"]
