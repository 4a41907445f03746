import socket
from collections.abc import Iterator

import pytest

from cli.stack.ports import PortTaken, any_free, choose, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_replaced_by_a_free_one(taken: int) -> None:
    chosen = choose("127.0.0.1", taken, insist=False)
    assert chosen != taken and is_free("127.0.0.1", chosen)


def test_a_taken_port_that_was_asked_for_is_an_error_that_names_it(taken: int) -> None:
    with pytest.raises(PortTaken, match=str(taken)):
        choose("127.0.0.1", taken, insist=True)


def test_port_0_is_any_free_port() -> None:
    assert choose("127.0.0.1", 0, insist=True) > 0


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1"):
        is_free("192.0.2.1", any_free("127.0.0.1"))
