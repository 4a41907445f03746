from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.failover import ErrorClass, Leg, Plan, classify

CLASSES: list[ErrorClass] = ["overload", "context", "refused", "outage"]


@dataclass(frozen=True)
class Upstream:
    name: str
    context_length: int | None = None


CATALOG: Mapping[str, Sequence[Upstream]] = {
    "main": [Upstream("main-eu", 8000), Upstream("main-us", 8000), Upstream("main-long", 32_000)],
    "spare": [Upstream("spare-1", 16_000), Upstream("spare-2")],
    "giant": [Upstream("giant-1", 1_000_000)],
}
FALLBACKS = {"outage": ("spare", "giant"), "overload": ("spare",), "context": ("giant",), "refused": ("spare",)}


def plan(fallbacks: Mapping[str, Sequence[str]] = FALLBACKS) -> Plan:
    return Plan("main", fallbacks, lambda model: CATALOG.get(model, ()))


@pytest.mark.parametrize(
    ("code", "status", "found"),
    [
        ("rate_limited", 429, "overload"),
        ("upstream_error", 503, "overload"),
        ("upstream_error", 529, "overload"),
        ("upstream_error", 500, "outage"),
        ("upstream_error", None, "outage"),
        ("upstream_timeout", 504, "outage"),
        ("upstream_unreachable", None, "outage"),
        ("bad_reply", 200, "outage"),
        ("unauthorized", 401, "outage"),
        ("unknown_model", 404, "outage"),
        ("context_length_exceeded", 400, "context"),
        ("content_refused", 400, "refused"),
        ("invalid_request", 400, None),
        ("reply_too_large", 200, None),
        ("timeout", None, None),
        ("something_new", 503, None),
    ],
)
def test_errors_fall_into_classes_and_a_job_s_own_fault_into_none(
    code: str, status: int | None, found: str | None
) -> None:
    assert classify(code, status) == found


def test_an_outage_goes_through_the_model_s_deployments_and_then_through_the_chain() -> None:
    way = plan()
    way.begin("main-eu", "main")
    first = way.after("main-eu", "outage")
    assert first == Leg("main", ("main-us", "main-long"), "main-eu failed: another deployment of main")
    way.begin("main-us", "main")
    way.begin("main-long", "main")
    second = way.after("main-long", "outage")
    assert second == Leg("spare", ("spare-1", "spare-2"), "main-long failed: fallback to spare")
    way.begin("spare-2", "spare")
    third = way.after("spare-2", "outage")
    assert third == Leg("spare", ("spare-1",), "spare-2 failed: another deployment of spare")
    way.begin("spare-1", "spare")
    last = way.after("spare-1", "outage")
    assert last == Leg("giant", ("giant-1",), "spare-1 failed: fallback to giant")
    way.begin("giant-1", "giant")
    assert way.after("giant-1", "outage") is None
    assert way.tried == ("main-eu", "main-us", "main-long", "spare-2", "spare-1", "giant-1")


def test_too_long_a_context_goes_only_where_there_is_a_longer_window() -> None:
    way = plan()
    way.begin("main-us", "main")
    assert way.after("main-us", "context") == Leg(
        "main", ("main-long",), "main-us found the context too long: another deployment of main"
    )
    way.begin("main-long", "main")
    found = way.after("main-long", "context")
    assert found is not None and found.deployments == ("giant-1",)
    way = plan({"context": ("spare",)})
    way.begin("main-long", "main")
    # Of spare-1 it is known that it is no better.
    assert way.after("main-long", "context") == Leg(
        "spare", ("spare-2",), "main-long found the context too long: fallback to spare"
    )


def test_refused_content_is_not_offered_to_the_same_model_again() -> None:
    way = plan()
    way.begin("main-eu", "main")
    found = way.after("main-eu", "refused")
    assert found == Leg("spare", ("spare-1", "spare-2"), "main-eu refused the content: fallback to spare")
    assert plan({}).after("main-eu", "refused") is None


def test_deployments_that_cannot_be_called_now_are_passed_over() -> None:
    way = plan()
    way.begin("main-eu", "main")
    found = way.after("main-eu", "overload", lambda name: name in {"spare-2", "main-eu"})
    assert found is not None and (found.model, found.deployments) == ("spare", ("spare-2",))
    assert way.after("main-eu", "overload", lambda _: False) is None


names = st.sampled_from([f"d{number}" for number in range(12)])
catalogs = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(st.builds(Upstream, names, st.none() | st.integers(1, 9)), max_size=5, unique_by=lambda each: each.name),
    min_size=1,
)
chains = st.dictionaries(st.sampled_from(CLASSES), st.lists(st.sampled_from("abcde"), max_size=5).map(tuple))


@given(catalogs, chains, st.lists(st.sampled_from(CLASSES), min_size=30, max_size=30), st.data())
def test_no_deployment_is_met_twice_and_every_way_ends(
    catalog: dict[str, list[Upstream]],
    fallbacks: dict[str, tuple[str, ...]],
    errors: list[ErrorClass],
    data: st.DataObject,
) -> None:
    deployments: Callable[[str], Sequence[Upstream]] = lambda model: catalog.get(model, [])  # noqa: E731
    way = Plan("a", fallbacks, deployments)
    leg: Leg | None = Leg("a", tuple(each.name for each in deployments("a")), "")
    met: list[str] = []
    for error in errors:
        if leg is None or not leg.deployments:
            break
        name = data.draw(st.sampled_from(leg.deployments))
        assert name not in met
        met.append(name)
        way.begin(name, leg.model)
        leg = way.after(name, error)
        assert leg is None or (leg.deployments and leg.reason.startswith(name))
        assert leg is None or leg.model == "a" or leg.model in {m for chain in fallbacks.values() for m in chain}
    assert leg is None or not leg.deployments
