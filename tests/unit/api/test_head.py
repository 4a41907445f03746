"""Request ids and trace context."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.edge.head import Head

SHAPE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


@given(st.binary(max_size=60) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
def test_whatever_comes_in_a_valid_trace_goes_on(parent: bytes) -> None:
    head = Head({b"traceparent": parent})
    assert SHAPE.fullmatch(head.traceparent)
    assert head.traceparent.split("-")[1] != "0" * 32


@pytest.mark.parametrize(
    "parent",
    [
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    ],
)
def test_a_broken_parent_starts_a_new_trace(parent: bytes) -> None:
    assert b"4bf92f3577b34da6a3ce929d0e0e4736" not in Head({b"traceparent": parent}).traceparent.encode()


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    head = Head({b"traceparent": b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"})
    assert head.traceparent.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")


@given(st.binary(max_size=140))
def test_a_request_id_is_kept_only_if_it_can_stand_in_a_header_and_a_log(asked: bytes) -> None:
    kept = Head({b"x-request-id": asked}).request_id
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", kept)
    assert kept.encode() == asked or kept.startswith("req_")
