import pytest

from cli.job_view import print_event, print_job

JOB = {
    "id": "job_1", "object": "job", "status": "succeeded", "model": "local/summarize", "lane": "default", "attempts": 1,
    "max_attempts": 5, "finished_at": "2026-01-01T00:00:00Z", "timing": {"total_ms": 12.4}, "error": None,
}  # fmt: skip


def test_a_chat_answer_is_shown_as_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_job({**JOB, "result": {"choices": [{"message": {"role": "assistant", "content": "Short and true."}}]}})
    shown = capsys.readouterr().out
    assert "succeeded" in shown and "12 ms" in shown
    assert shown.endswith("\nShort and true.\n")


def test_an_embedding_is_shown_by_its_shape(capsys: pytest.CaptureFixture[str]) -> None:
    print_job({**JOB, "result": {"data": [{"embedding": [0.5] * 256}] * 3}})
    assert "3 embeddings of 256 numbers" in capsys.readouterr().out


def test_one_embedding_is_told_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    print_job({**JOB, "result": {"data": [{"embedding": [0.5] * 256}]}})
    assert "1 embedding of 256 numbers" in capsys.readouterr().out


def test_an_answer_without_text_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_job({**JOB, "result": {"choices": [{"message": {"content": None, "tool_calls": [{"id": "call_1"}]}}]}})
    assert "call_1" in capsys.readouterr().out


def test_a_failure_names_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "rate_limited", "message": "slow down"}
    print_job({**JOB, "status": "failed", "result": None, "error": error})
    assert "rate_limited: slow down" in capsys.readouterr().out


def test_deltas_run_on_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    for piece in ("Once ", "upon"):
        print_event("job.delta", {"delta": piece})
    assert capsys.readouterr().out == "Once upon"
