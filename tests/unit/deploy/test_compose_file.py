"""docker-compose.yml and the Dockerfile, checked without a container engine."""

import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from core.settings import LANES, WorkerSettings

ROOT = Path(__file__).parents[3]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"migrate"}
LONG_RUNNING = sorted(SERVICES.keys() - ONE_SHOT)
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
SECRET_NAME = re.compile(r"PASSWORD|SECRET|KEY|AUTH|TOKEN")
REFERENCE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:?[-?+])([^}]*))?\}|(?<!\$)\$(\w+)")


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """The service's environment, with every value as text."""
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def words_of(command: str | list[str]) -> list[str]:
    """The words of a command or of a health check's test."""
    words = command.split() if isinstance(command, str) else command
    return [part for word in words if word not in {"CMD", "CMD-SHELL"} for part in word.split()]


def modules_of(words: list[str]) -> Iterator[str]:
    """The Python modules that a command names by ``-m`` or ``-A``."""
    for flag, module in pairwise(words):
        if flag in {"-m", "-A"}:
            yield module


def test_the_file_keeps_to_the_compose_schema() -> None:
    schema = json.loads((ROOT / "third_party" / "compose-spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(COMPOSE)] == []


def test_all_the_promised_services_are_there() -> None:
    assert SERVICES.keys() == {"postgres", "redis", "migrate", "api", "worker", "worker-webhooks", "beat", "flower"}


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_by_its_digest_or_built_here_under_the_version(name: str) -> None:
    image = SERVICES[name]["image"]
    if name in OURS:
        assert image == f"coatcheck:{PROJECT['version']}"
    else:
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}", image)


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_long_running_service_is_watched_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()
    assert "stop_grace_period" in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service.get("network_mode") is None


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_has_no_default_and_is_asked_for_with_a_reason(name: str) -> None:
    for variable, value in environment_of(SERVICES[name]).items():
        for reference, operator, argument, bare in REFERENCE.findall(value):
            assert not bare, f"{variable} would silently be empty"
            if SECRET_NAME.search(reference):
                demanded = operator == ":?" and argument
                optional = operator == ":-" and argument == ""
                assert demanded or optional, f"{variable} has a default secret"
        if SECRET_NAME.search(variable):
            assert re.fullmatch(r"\$\{\w+(:\?[^}]+|:-)\}", value), f"{variable} holds a secret of its own"
        password_in_url = re.search(r"://[^/@:]*:([^@]*)@", value)
        if password_in_url:
            assert password_in_url[1].startswith("${"), f"{variable} holds a password"


def test_every_demanded_variable_is_explained_at_the_head_of_the_file() -> None:
    head = COMPOSE_TEXT.split("\nname:")[0]
    demanded = {name for name, operator, _, _ in REFERENCE.findall(COMPOSE_TEXT) if operator == ":?"}
    assert demanded == {
        "COATCHECK_FLOWER_AUTH",
        "COATCHECK_POSTGRES_PASSWORD",
        "COATCHECK_REDIS_PASSWORD",
        "COATCHECK_SECRET_KEY",
    }
    assert [name for name in demanded if name not in head] == []


@pytest.mark.parametrize("name", OURS)
def test_every_module_that_a_command_names_exists(name: str) -> None:
    service = SERVICES[name]
    commands = [service["command"], *([service["healthcheck"]["test"]] if "healthcheck" in service else [])]
    for command in commands:
        for module in modules_of(words_of(command)):
            spec = importlib.util.find_spec(module)
            assert spec is not None, module
            runs_as_package = spec.submodule_search_locations is not None and "-m" in command
            assert not runs_as_package or importlib.util.find_spec(f"{module}.__main__"), module


@pytest.mark.parametrize("name", OURS)
def test_every_program_that_a_command_starts_is_in_the_image(name: str) -> None:
    locked = (ROOT / "requirements" / "runtime.txt").read_text()
    program = words_of(SERVICES[name]["command"])[0]
    assert program == "python" or program in PROJECT["scripts"] or re.search(rf"^{program}==", locked, re.MULTILINE)


def test_the_workers_together_serve_every_lane_and_webhooks_stand_alone() -> None:
    lanes = {name: SERVICES[name]["command"][-1].split(",") for name in ("worker", "worker-webhooks")}
    assert lanes["worker-webhooks"] == ["webhooks"]
    assert sorted(lanes["worker"] + lanes["worker-webhooks"]) == sorted(LANES)


def test_a_worker_is_given_longer_to_stop_than_its_own_grace() -> None:
    for name in ("worker", "worker-webhooks"):
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > WorkerSettings().grace_s + 5


def test_webhooks_leave_by_a_network_that_nobody_else_is_in_and_without_model_keys() -> None:
    members = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }
    assert members["webhooks"] == {"worker-webhooks"}
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert "OPENAI_API_KEY" not in environment_of(SERVICES["worker-webhooks"])


def test_databases_are_not_published_and_flower_is_for_this_machine_only_with_a_password() -> None:
    for name in ("postgres", "redis"):
        assert "ports" not in SERVICES[name]
        assert SERVICES[name]["networks"] == ["data"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["flower"]["ports"])
    assert environment_of(SERVICES["flower"])["FLOWER_BASIC_AUTH"].startswith("${COATCHECK_FLOWER_AUTH:?")


def test_redis_keeps_the_broker_s_keys_when_it_is_full() -> None:
    assert "maxmemory-policy noeviction" in SERVICES["redis"]["command"][-1]


@pytest.mark.parametrize("name", ["api", "worker", "worker-webhooks", "beat"])
def test_nobody_starts_before_the_schema_is_there(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_the_image_is_built_from_a_pinned_base_by_the_makefile_s_own_script() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2
    script = "sh requirements/prepare-venv.sh"
    assert f"{script} /opt/venv runtime" in DOCKERFILE
    assert f"{script} .venv dev" in (ROOT / "Makefile").read_text()


def test_the_image_runs_as_the_user_that_the_compose_file_names() -> None:
    user = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert [SERVICES[name]["user"] for name in OURS] == user * len(OURS)


def test_the_dockerfile_copies_only_what_is_there_and_what_the_build_context_holds() -> None:
    kept = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == kept
    assert [source for source in copied if not (ROOT / source).exists()] == []
