"""`coatcheck keys` and `coatcheck tenants` set limits and tell them."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import main
from core.settings import Settings


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    assert settings.secret_key is not None
    monkeypatch.setenv("COATCHECK_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("COATCHECK_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("COATCHECK_SECRET_KEY", settings.secret_key.get_secret_value())

    def one(*arguments: str, fails: bool = False) -> str:
        told = CliRunner().invoke(main, list(arguments))
        assert (told.exit_code != 0) is fails, told.output
        return told.output

    return one


def test_a_key_is_made_with_limits_and_they_are_listed(run: Any) -> None:
    run(
        "keys",
        "create",
        "--tenant",
        "acme",
        "--rpm",
        "60",
        "--tpm",
        "5000",
        "--max-queued",
        "9",
        "--budget-day",
        "1.50",
        "--json",
    )
    [key] = json.loads(run("keys", "list", "--json"))
    limits = {name: key[name] for name in ("requests_per_minute", "tokens_per_minute", "max_in_flight", "max_queued")}
    assert limits == {"requests_per_minute": 60, "tokens_per_minute": 5000, "max_in_flight": None, "max_queued": 9}
    assert (key["budget_day_usd"], key["budget_month_usd"]) == ("1.50", None)
    assert "60 requests/min, 5000 tokens/min, 9 queued, 1.50 USD/day" in run("keys", "list")


def test_a_tenant_is_given_a_weight_and_limits_and_they_can_be_lifted(run: Any) -> None:
    run("keys", "create", "--tenant", "acme")
    run("tenants", "set", "acme", "--weight", "2.5", "--max-in-flight", "4", "--budget-month", "20")
    run("tenants", "set", "acme", "--no-limit", "max-in-flight")
    [tenant] = json.loads(run("tenants", "list", "--json"))
    assert (tenant["weight"], tenant["max_in_flight"], tenant["budget_month_usd"]) == (2.5, None, "20")
    assert "20 USD/month" in run("tenants", "list")
    assert "nothing was used" in run("tenants", "usage")


def test_nonsense_is_refused(run: Any) -> None:
    run("keys", "create", "--tenant", "acme", "--budget-day", "lots", fails=True)
    run("keys", "create", "--tenant", "acme", "--tpm", "0", fails=True)
    run("tenants", "set", "nobody", "--weight", "2", fails=True)
    run("tenants", "set", "acme", fails=True)
    run("tenants", "usage", "--by", "colour", fails=True)


def test_a_key_is_made_with_rules_for_caches_and_they_are_listed(run: Any) -> None:
    run("keys", "create", "--tenant", "acme", "--cache", "mode=always,semantic=on,threshold=0.8,ttl_s=60")
    run("keys", "create", "--tenant", "acme")
    rules = [key["cache"] for key in json.loads(run("keys", "list", "--json"))]
    assert rules == [None, {"mode": "always", "semantic": "on", "threshold": 0.8, "ttl_s": 60.0}]


def test_rules_for_caches_with_a_mistake_make_no_key(run: Any) -> None:
    told = run("keys", "create", "--tenant", "acme", "--cache", "mode=alwys,nearness=1", fails=True)
    assert "alwys" in told and "nearness" in told
    assert json.loads(run("keys", "list", "--json")) == []
