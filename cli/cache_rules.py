"""The option that says what a key's jobs ask of caches, in the words of the catalog."""

import tomllib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from policies.cache_policy import CacheRules


class CacheRulesType(click.ParamType["CacheRules"]):
    """`mode=always,semantic=on,threshold=0.8,ttl_s=3600`: members of a model's `cache` table, separated by commas."""

    name = "rules"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "CacheRules":
        """Return the rules, checked as those of the catalog are."""
        from policies.cache_policy import CacheRules
        from policies.catalog import Problem, read_cache_rules

        if isinstance(value, CacheRules):
            return value
        problems: list[Problem] = []
        rules = read_cache_rules({name: _value(text) for name, text in map(_split, value.split(","))}, problems)
        if problems:
            self.fail("; ".join(f"{each.key}: {each.message}" for each in problems), param, ctx)
        return rules


def _split(part: str) -> tuple[str, str]:
    name, _, text = part.partition("=")
    return name.strip(), text.strip()


def _value(text: str) -> Any:
    """A number as TOML spells it; anything else is a word."""
    try:
        found = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return found if isinstance(found, int | float) else text


cache_option = click.option(
    "--cache",
    type=CacheRulesType(),
    metavar="RULES",
    help="What its jobs ask of caches where they do not say, as in the catalog: mode=always,semantic=on,threshold=0.8,ttl_s=60.",
)
