"""Job requests from a model's name and a text."""

import sys
from typing import TYPE_CHECKING, Any

from cli.errors import CliError

if TYPE_CHECKING:
    from cli.client import ApiClient

CHAT = "/v1/chat/completions"
# The operations that one text is enough for and the member that takes it, the one that `--text` most likely means first.
MEMBERS = {
    CHAT: "messages",
    "/v1/responses": "input",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/moderations": "input",
}


def from_text(client: "ApiClient", model: str, text: str, endpoint: str | None) -> dict[str, Any]:
    """A request that says `text` (`-` is standard input) to the model, by `endpoint` or one that the model serves."""
    chosen = endpoint or _endpoint_of(client, model)
    content: Any = sys.stdin.read() if text == "-" else text
    member = MEMBERS.get(chosen, "input")
    if member == "messages":
        content = [{"role": "user", "content": content}]
    return {"endpoint": chosen, "body": {"model": model, member: content}}


def _endpoint_of(client: "ApiClient", model: str) -> str:
    """What the model serves. For a model that isn't listed any will do: the API says best what is wrong with it."""
    served = _served(client, model)
    if served is None:
        return CHAT
    for endpoint in MEMBERS:
        if endpoint in served:
            return endpoint
    raise CliError(f"{model} serves {', '.join(served)}, which takes more than a text: give a FILE with a job request")


def _served(client: "ApiClient", model: str) -> list[str] | None:
    from cli.client import ApiRefusal

    try:
        listed = client.call("GET", "/v1/models").get("data", [])
    except ApiRefusal as refusal:
        if refusal.status == 403:
            return None
        raise
    return next((found.get("endpoints", []) for found in listed if found.get("id") == model), None)
