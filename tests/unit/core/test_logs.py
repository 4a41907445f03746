import pytest

from core.telemetry.logs import redact


@pytest.mark.parametrize(
    "secret",
    [
        "cc_abcdefghijklmnop-qrstuvwxyz_0123456789ABCDEF",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "Bearer sk-abcdef",
        "bearer anything-at-all",
        "postgresql+asyncpg://user:secret@host/db",
    ],
)
def test_secrets_never_reach_a_log(secret: str) -> None:
    line = redact(f"calling with {secret} now")
    assert "[redacted]" in line
    for part in ("abcdef", "C2FVsBQ", "anything", "secret@"):
        assert part not in line
    assert line.startswith("calling with ")
    assert line.endswith(" now")


@pytest.mark.parametrize("text", ["job_01h455vb4pex5vsknk084sn02q", "cc_", "http://host/path", "the bearer", "acc_1"])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text
