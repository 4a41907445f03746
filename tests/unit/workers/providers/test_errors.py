import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.errors import from_status, in_band, sanitise


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, {"error": {"message": "no", "code": None}}, "invalid_request", False),
        (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, "context_length_exceeded", False),
        (
            400,
            {"error": {"message": "This model's maximum context length is 8192 tokens"}},
            "context_length_exceeded",
            False,
        ),
        (400, {"error": {"type": "exceed_context_size_error", "message": "x"}}, "context_length_exceeded", False),
        (400, {"error": {"message": "x", "code": "content_filter"}}, "content_refused", False),
        (
            400,
            {"error": {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            "content_refused",
            False,
        ),
        (401, {"error": {"message": "bad key"}}, "unauthorized", False),
        (403, None, "unauthorized", False),
        (404, {"error": {"message": "x", "code": "model_not_found"}}, "unknown_model", False),
        (404, {"detail": "Not Found"}, "invalid_request", False),
        (408, None, "upstream_timeout", True),
        (409, None, "upstream_error", True),
        (413, None, "invalid_request", False),
        (422, {"detail": [{"loc": ["body"]}]}, "invalid_request", False),
        (429, {"error": {"message": "slow down"}}, "rate_limited", True),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, "rate_limited", False),
        (500, "<html>", "upstream_error", True),
        (501, None, "upstream_error", False),
        (503, {"message": "loading"}, "upstream_error", True),
        (504, None, "upstream_timeout", True),
        (529, {"error": {"type": "overloaded_error"}}, "upstream_error", True),
        (302, None, "upstream_error", False),
    ],
)
def test_a_status_becomes_a_code_and_says_whether_to_try_again(
    status: int, body: object, code: str, retryable: bool
) -> None:
    error = from_status(status, {"retry-after": "3"}, body, None)
    assert (error.code, error.retryable, error.upstream_status) == (code, retryable, status)
    assert error.retry_after_s == (3 if retryable else None)


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abc123SECRETxyz.",
        "header was Bearer SECRET-token-value",
        "see https://user:SECRET@host/path?key=SECRET",
        "hf_SECRETSECRETSECRET is not valid",
        "my-own-SECRET-format",
    ],
)
def test_nothing_that_looks_like_a_key_is_shown(text: str) -> None:
    assert "SECRET" not in sanitise(text, "my-own-SECRET-format")


def test_ordinary_messages_stay_as_they_are() -> None:
    text = (
        "The model `gpt-4o-mini` needs max_tokens below 4096, see https://docs.example.com/limits for key-value limits"
    )
    assert sanitise(text) == text


@given(st.text(max_size=3000))
def test_a_shown_message_is_one_line_of_at_most_500_characters(text: str) -> None:
    shown = sanitise(text)
    assert len(shown) <= 500
    assert "\n" not in shown and "\x00" not in shown
    shown.encode()


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ({"message": "x", "type": "server_error"}, "upstream_error", True),
        ({"message": "x", "code": 429}, "rate_limited", True),
        ({"message": "x", "code": "rate_limit_exceeded"}, "rate_limited", True),
        ({"message": "x", "code": "context_length_exceeded"}, "context_length_exceeded", False),
        ({"message": "x", "code": "content_filter"}, "content_refused", False),
        ("just text", "upstream_error", True),
        (["odd"], "upstream_error", True),
    ],
)
def test_an_error_inside_a_good_answer_is_an_error(error: object, code: str, retryable: bool) -> None:
    found = in_band(error, None)
    assert (found.code, found.retryable, found.upstream_status) == (code, retryable, 200)
