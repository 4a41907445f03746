from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import ids

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
uuids = st.uuids()
prefixes = st.sampled_from([ids.JOB, ids.GROUP, ids.ENDPOINT, ids.DELIVERY, ids.EVENT, ids.KEY, ids.TENANT])


def test_the_text_is_that_of_the_specification() -> None:
    value = UUID("01893726-efee-7f02-8fbf-9f2b7bc2f910")
    assert ids.encode("prefix", value) == "prefix_01h4vjdvzefw18zfwz5dxw5y8g"
    assert ids.encode("job", UUID(int=0)) == "job_" + "0" * 26
    assert ids.encode("job", UUID(int=2**128 - 1)) == "job_7" + "z" * 25


@given(prefixes, uuids)
def test_what_was_encoded_decodes_to_the_same(prefix: str, value: UUID) -> None:
    text = ids.encode(prefix, value)
    assert len(text) == len(prefix) + 27
    assert ids.decode(prefix, text) == value


@given(uuids, uuids)
def test_texts_sort_as_their_values(one: UUID, other: UUID) -> None:
    assert (one < other) == (ids.encode("job", one) < ids.encode("job", other))


@given(prefixes, prefixes, uuids)
def test_an_id_of_another_kind_is_refused(prefix: str, other: str, value: UUID) -> None:
    if prefix != other:
        with pytest.raises(ids.InvalidId):
            ids.decode(other, ids.encode(prefix, value))


@given(st.text(max_size=40) | st.from_regex(r"job_[0-9a-zA-Z]{24,28}", fullmatch=True))
def test_any_text_is_either_an_id_or_refused(text: str) -> None:
    """There is one spelling of each id, so that a cache or a log never sees two."""
    try:
        value = ids.decode("job", text)
    except ids.InvalidId:
        return
    assert ids.encode("job", value) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "job", "job_", "_", "job_" + "0" * 25, "job_" + "0" * 27,
        "job_8" + "0" * 25,  # more than 128 bits
        "job_0" + "i" * 25, "job_0" + "l" * 25, "job_0" + "o" * 25, "job_0" + "u" * 25,
        "JOB_" + "0" * 26, "job_" + "0" * 25 + "A", "job-" + "0" * 26, "job__" + "0" * 26, " job_" + "0" * 26,
        "job_" + "0" * 26 + "\n", "job_" + "0" * 25 + "٠", "grp_" + "0" * 26, "0" * 26,
        "{00000000-0000-0000-0000-000000000000}", "00000000-0000-0000-0000-000000000000",
    ],
)  # fmt: skip
def test_nothing_else_is_an_id(text: str) -> None:
    with pytest.raises(ids.InvalidId):
        ids.decode("job", text)


def test_new_ids_are_version_7_and_rise() -> None:
    made = [ids.new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {value.version for value in made} == {7}
    assert {value.variant for value in made} == {"specified in RFC 4122"}


def test_a_new_id_carries_the_time_of_its_making() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    value = ids.new_id()
    after = datetime.now(UTC) + timedelta(milliseconds=1)
    assert ids.floor_of(before) <= value <= ids.floor_of(after + timedelta(milliseconds=1))


@given(st.integers(0, 16_000_000_000_000_000).map(lambda microseconds: EPOCH + timedelta(microseconds=microseconds)))
def test_the_floor_of_a_moment_is_a_bound_of_all_its_ids(moment: datetime) -> None:
    floor = ids.floor_of(moment)
    milliseconds = floor.int >> 80
    assert floor.int & (1 << 80) - 1 == 0
    assert abs(milliseconds - moment.timestamp() * 1000) < 1
    assert ids.floor_of(moment + timedelta(milliseconds=2)) > floor


def test_a_moment_before_the_epoch_has_the_smallest_floor() -> None:
    assert ids.floor_of(datetime(1960, 1, 1, tzinfo=UTC)) == UUID(int=0)
