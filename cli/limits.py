"""The options that limit keys and tenants, and how limits are shown."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from policies.limits import Limits

Command = TypeVar("Command", bound=Callable[..., Any])

#: Names of options and the limits that they set.
OPTIONS: Final[Mapping[str, str]] = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "max-in-flight": "max_in_flight",
    "max-queued": "max_queued",
    "budget-day": "budget_day_usd",
    "budget-month": "budget_month_usd",
}
_HELP: Final = {
    "rpm": "Most requests a minute.",
    "tpm": "Most tokens a minute, input and output together.",
    "max-in-flight": "Most jobs running at once.",
    "max-queued": "Most jobs accepted and not started.",
    "budget-day": "Most USD spent on a day (UTC).",
    "budget-month": "Most USD spent in a month (UTC).",
}
_WORDS: Final = {
    "requests_per_minute": "{} requests/min",
    "tokens_per_minute": "{} tokens/min",
    "max_in_flight": "{} in flight",
    "max_queued": "{} queued",
    "budget_day_usd": "{} USD/day",
    "budget_month_usd": "{} USD/month",
}


class _Usd(click.ParamType[Decimal]):
    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal(-1)
        if not (amount.is_finite() and 0 <= amount <= 1_000_000):
            self.fail(f"{value!r} is not an amount from 0 to 1,000,000 USD", param, ctx)
        return amount


def limit_options(command: Command) -> Command:
    """Add an option for each limit; `given_limits` reads them."""
    for option in reversed(list(OPTIONS)):
        kind: click.ParamType[Any] = _Usd() if option.startswith("budget") else click.IntRange(1, 2_000_000_000)
        command = click.option(f"--{option}", type=kind, help=_HELP[option])(command)
    return command


def given_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits that were named."""
    named = {limit: options[option.replace("-", "_")] for option, limit in OPTIONS.items()}
    return {limit: value for limit, value in named.items() if value is not None}


def told_limits(limits: "Limits") -> dict[str, Any]:
    """Return limits as JSON has them: money as decimal text."""
    from dataclasses import asdict

    return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(limits).items()}


def in_words(told: Mapping[str, Any]) -> str:
    """Return the limits of a row of `told_limits` for people."""
    return ", ".join(words.format(told[name]) for name, words in _WORDS.items() if told[name] is not None)
