"""What pydantic finds wrong, in words for the caller."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from api.problems import Fault, pointer

_MAX_FAULTS: Final = 20
_NOT_EMPTY: Final = "Must not be empty."
_OBJECT: Final = "Must be a JSON object."
_TEXTS: Final[dict[str, str]] = {
    "missing": "Must be given.",
    "extra_forbidden": "Unknown field.",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "list_type": "Must be a list.",
    "string_type": "Must be a text.",
    "int_type": "Must be a whole number.",
    "int_from_float": "Must be a whole number.",
    "float_type": "Must be a number.",
    "finite_number": "Must be a finite number.",
    "bool_type": "Must be true or false.",
}
_LIMITS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "literal_error": lambda limit: f"Must be {limit['expected']}.",
    "greater_than_equal": lambda limit: f"Must be at least {limit['ge']:,.15g}.",
    "greater_than": lambda limit: f"Must be more than {limit['gt']:,.15g}.",
    "less_than_equal": lambda limit: f"Must be at most {limit['le']:,.15g}.",
    "string_too_short": lambda limit: _least(limit["min_length"], "characters"),
    "string_too_long": lambda limit: f"May have at most {limit['max_length']:,} characters.",
    "too_short": lambda limit: _least(limit["min_length"], "items"),
    "too_long": lambda limit: f"May have at most {limit['max_length']:,} items.",
}


def _least(number: int, what: str) -> str:
    return _NOT_EMPTY if number == 1 else f"Must have at least {number:,} {what}."


def sentence(error: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors (an item of `ValidationError.errors()`) as one sentence."""
    kind = error["type"]
    if kind in _TEXTS:
        return _TEXTS[kind]
    if kind in _LIMITS:
        return _LIMITS[kind](error["ctx"])
    message: str = error["msg"]
    return message.removesuffix(".") + "."


def faults_of(error: ValidationError, prefix: str = "") -> list[Fault]:
    """Return what is wrong, at most 20 faults; `prefix` is the JSON pointer to what was checked."""
    told = error.errors(include_url=False, include_input=False)[:_MAX_FAULTS]
    return [Fault(pointer(prefix, fault["loc"]), sentence(fault)) for fault in told]
