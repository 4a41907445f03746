"""A job for people's eyes."""

import json
from typing import Any

import click

from cli.wording import counted

COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "expired": "yellow", "running": "cyan"}


def print_job(job: dict[str, Any]) -> None:
    """Print what matters of a job and its result in readable form."""
    status = str(job.get("status"))
    timing = job.get("timing") or {}
    route = job.get("route") or {}
    chosen = [str(part) for part in (route.get("model"), route.get("deployment")) if part]
    click.echo(f"{job.get('id')}  {click.style(status, fg=COLOURS.get(status), bold=True)}")
    lines = {
        "model": job.get("model"),
        "lane": job.get("lane"),
        "position": job.get("queue_position"),
        "attempts": f"{job.get('attempts')} of {job.get('max_attempts')}" if job.get("attempts") else None,
        "route": " at ".join(dict.fromkeys(chosen)) or None,
        "because": route.get("reason"),
        "cost": f"{job['cost_usd']} USD" if job.get("cost_usd") else None,
        "took": f"{timing['total_ms']:.0f} ms" if timing.get("total_ms") else None,
        "status url": None if job.get("finished_at") else job.get("status_url"),
    }
    for name, value in lines.items():
        if value is not None:
            click.echo(f"  {name:<11}{value}")
    if error := job.get("error"):
        click.echo(f"  {'error':<11}{error.get('code')}: {error.get('message')}")
    if job.get("result") is not None:
        click.echo(f"\n{_readable(job['result'])}")


def print_event(kind: str, data: dict[str, Any]) -> None:
    """Print one event; deltas run on as text."""
    if kind == "job.delta":
        click.echo(data.get("delta", ""), nl=False)
    elif kind == "job.retrying":
        click.echo(f"\nretrying ({data.get('reason')}) at {data.get('run_at')}")
    elif data.get("object") == "job" and data.get("finished_at"):
        click.echo()
        print_job(data)
    else:
        click.echo(kind.removeprefix("job."))


def _readable(result: Any) -> str:
    """The text of a chat or completion; the shape of an embedding; JSON of everything else."""
    if isinstance(result, dict):
        texts = [_choice_text(choice) for choice in result.get("choices", []) if isinstance(choice, dict)]
        if texts and all(texts):
            return "\n\n".join(map(str, texts))
        vectors = [
            item["embedding"] for item in result.get("data", []) if isinstance(item, dict) and "embedding" in item
        ]
        if vectors and isinstance(vectors[0], list):
            start = ", ".join(f"{number:.4f}" for number in vectors[0][:4])
            shape = f"{counted(len(vectors), 'embedding')} of {counted(len(vectors[0]), 'number')}"
            return f"{shape}: [{start}, …] (all of it with --json)"
    return json.dumps(result, indent=2, ensure_ascii=False)


def _choice_text(choice: dict[str, Any]) -> str | None:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return text if isinstance(text, str) else None
