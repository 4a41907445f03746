"""A chat-completion request as one of the Messages API.

Three kinds of parameters have no counterpart there. What would change the answer's shape (`n`, `logprobs`, audio) is refused.
What only steers (`seed`, penalties, …) is left out, and the answer names it in `ignored_parameters`. What means nothing to
the answer (`store`, `metadata`) is left out without a word.
"""

from typing import Any, Final

import orjson

from policies.catalog import Deployment
from workers.providers.anthropic.messages import Json, conversation, invalid

DEFAULT_MAX_TOKENS: Final = 4_096
SAMPLING: Final = ("temperature", "top_p", "top_k")

_STEERING: Final = (
    "seed", "frequency_penalty", "presence_penalty", "logit_bias", "prediction", "verbosity",
)  # fmt: skip
_REFUSED: Final = {
    "functions": "use tools",
    "function_call": "use tool_choice",
    "web_search_options": "Anthropic's search is another tool with other answers",
}
_EFFORTS: Final = {
    "none": "low", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max",
}  # fmt: skip
_TIERS: Final = {"auto": "auto", "default": "standard_only"}
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def message_request(body: Json, deployment: Deployment, *, stream: bool, sampling: bool) -> tuple[Json, list[str]]:
    """Translate a request; also return the names of parameters that were left out. Raises ProviderError `invalid_request`.

    Args:
        body: the chat-completion request.
        deployment: tells the model's name, how much it can write, and whether it reasons.
        stream: ask for a stream.
        sampling: send `temperature`, `top_p` and `top_k`; newer models refuse them.
    """
    _refuse_what_cannot_be(body)
    system, turns = conversation(body.get("messages"))
    ignored = [name for name in _STEERING if body.get(name)]
    request: Json = {
        "model": deployment.upstream_model or deployment.model,
        "max_tokens": _max_tokens(body, deployment),
        "messages": turns,
    }
    system += _format(body.get("response_format"), request)
    if system:
        request["system"] = system
    _tools(body, request)
    _sampling(body, request, ignored, wanted=sampling)
    _reasoning(body, request, ignored, able="reasoning" in deployment.capabilities)
    _steady_thought(request, ignored)
    _rest(body, request, ignored)
    if stream:
        request["stream"] = True
    return request, ignored


def _refuse_what_cannot_be(body: Json) -> None:
    if body.get("n") not in (None, 1):
        raise invalid("Anthropic's API gives one answer a request: n must be 1")
    if body.get("logprobs") or body.get("top_logprobs"):
        raise invalid("Anthropic's API tells no log probabilities")
    if body.get("audio") or "audio" in (body.get("modalities") or ()):
        raise invalid("Anthropic's API answers in text only")
    for name, instead in _REFUSED.items():
        if body.get(name):
            raise invalid(f"{name} can't be sent to Anthropic's API: {instead}")


def _max_tokens(body: Json, deployment: Deployment) -> int:
    """Required there. A limit beyond the model's own would be refused, and means the same as that."""
    most = deployment.max_output_tokens
    given = body.get("max_completion_tokens")
    given = body.get("max_tokens") if given is None else given
    if given is None:
        return most or DEFAULT_MAX_TOKENS
    if type(given) is not int or given < 1:
        raise invalid("max_tokens must be a whole number of at least 1")
    return min(given, most) if most else given


def _format(wish: Any, request: Json) -> list[Json]:
    """JSON as asked: a strict schema is enforced by the API, anything looser can only be asked for, in the system prompt."""
    kind = wish.get("type") if isinstance(wish, dict) else None
    if kind in (None, "text"):
        return []
    if kind == "json_object":
        return [_system("Answer with a single valid JSON object: no other text, no code fence.")]
    schema = wish.get("json_schema") if kind == "json_schema" else None
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
        raise invalid("response_format must be text, json_object, or json_schema with a schema")
    if schema.get("strict"):
        request["output_config"] = {"format": {"type": "json_schema", "schema": schema["schema"]}}
        return []
    text = orjson.dumps(schema["schema"]).decode()
    return [_system(f"Answer with a single JSON value that fits this schema: no other text, no code fence.\n{text}")]


def _system(text: str) -> Json:
    return {"type": "text", "text": text}


def _tools(body: Json, request: Json) -> None:
    given = body.get("tools")
    if not given:
        return
    if not isinstance(given, list):
        raise invalid("tools must be a list")
    request["tools"] = [_tool(tool) for tool in given]
    choice = _choice(body.get("tool_choice"))
    if body.get("parallel_tool_calls") is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice:
        request["tool_choice"] = choice


def _tool(tool: Any) -> Json:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid("Anthropic's API is given tools of the type function only, each with a name")
    made: Json = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("strict"):
        made["strict"] = True
    if isinstance(tool.get("cache_control"), dict):
        made["cache_control"] = tool["cache_control"]
    return made


def _choice(choice: Any) -> Json | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"type": "tool", "name": function["name"]}
    raise invalid("tool_choice must be auto, none, required or a function")


def _sampling(body: Json, request: Json, ignored: list[str], *, wanted: bool) -> None:
    given = {name: body[name] for name in SAMPLING if body.get(name) is not None}
    if not wanted:
        ignored += given
        return
    if "temperature" in given and "top_p" in given:
        # The models of the last years take one of them.
        del given["top_p"]
        ignored.append("top_p")
    if isinstance(temperature := given.get("temperature"), int | float) and temperature > 1:
        given["temperature"] = 1  # OpenAI's scale ends at 2, this one at 1
    request.update(given)


def _reasoning(body: Json, request: Json, ignored: list[str], *, able: bool) -> None:
    effort = body.get("reasoning_effort")
    if isinstance(body.get("thinking"), dict):
        request["thinking"] = body["thinking"]
    if effort is None:
        return
    if effort not in _EFFORTS:
        raise invalid(f"reasoning_effort must be one of {', '.join(_EFFORTS)}")
    if not able:
        ignored.append("reasoning_effort")
        return
    request.setdefault("output_config", {})["effort"] = _EFFORTS[effort]
    # A tool that must be called leaves no room for thinking: the two together are refused.
    forced = request.get("tool_choice", {}).get("type") in ("any", "tool")
    if effort not in ("none", "minimal") and not forced:
        request.setdefault("thinking", {"type": "adaptive"})


def _steady_thought(request: Json, ignored: list[str]) -> None:
    """Who thinks is not sampled otherwise: refused for one request, it would be taken for a model that never is."""
    if request.get("thinking", {}).get("type") not in ("enabled", "adaptive"):
        return
    for name in SAMPLING:
        if name in request and not (name == "temperature" and request[name] == 1):
            del request[name]
            ignored.append(name)


def _rest(body: Json, request: Json, ignored: list[str]) -> None:
    stop = body.get("stop")
    if stop:
        request["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    user = body.get("safety_identifier") or body.get("user")
    if isinstance(user, str) and user:
        request["metadata"] = {"user_id": user}
    tier = body.get("service_tier")
    if tier in _TIERS:
        request["service_tier"] = _TIERS[tier]
    elif tier:
        ignored.append("service_tier")
