from policies.catalog import FLAVOURS, TIERS, Deployment, parse
from policies.catalog.simulated import SIMULATED_AUTO, SIMULATED_MODELS, simulated

URL = "http://127.0.0.1:9000"


def test_simulated_deployments_come_after_those_of_the_file_and_say_what_they_are() -> None:
    own = {"model": "local/embed", "provider": "local"}
    catalog, problems = parse({"deployments": [own]}, simulated=simulated(URL))
    assert problems == []
    assert catalog.models[0] == "local/embed"
    assert set(catalog.models[1:]) == SIMULATED_MODELS
    others = catalog.deployments[1:]
    assert {(server.owned_by, server.base_url) for server in others} == {("simulator", f"{URL}/v1")}


def test_auto_is_simulated_only_where_the_catalog_has_none() -> None:
    own = {"model": "mine", "provider": "openai", "base_url": "http://h/v1"}
    assert parse({})[0].auto is None
    assert parse({}, simulated=simulated(URL))[0].auto is SIMULATED_AUTO
    auto = parse({"deployments": [own], "auto": {"simple": ["mine"]}}, simulated=simulated(URL))[0].auto
    assert auto is not None and auto.models_for("best", "reasoning") == ("mine",)


def test_simulated_tiers_are_complete_and_demanding_prompts_go_to_the_large_model() -> None:
    for flavour in FLAVOURS:
        for tier in TIERS:
            assert set(SIMULATED_AUTO.models_for(flavour, tier)) <= SIMULATED_MODELS
    for flavour in ("auto", "best"):
        assert {SIMULATED_AUTO.models_for(flavour, tier)[0] for tier in ("complex", "reasoning")} == {"sim/large"}


def test_a_model_of_the_file_keeps_its_servers_when_the_simulator_has_one_of_that_name() -> None:
    own = {"model": "sim/chat", "provider": "openai", "base_url": "http://h/v1"}
    catalog, _ = parse({"deployments": [own]}, simulated=simulated(URL))
    assert [server.base_url for server in catalog.deployments_for("sim/chat")] == ["http://h/v1"]


def test_what_merges_says_so_and_costs_are_known_but_for_one_model() -> None:
    servers: dict[str, Deployment] = {server.name: server for server in simulated(URL)}
    assert servers["sim/gpu"].merge_items > 1 and servers["sim/embed"].merge_items > 1
    assert {name for name, server in servers.items() if server.price is None} == {"sim/fast", "sim/bench"}
