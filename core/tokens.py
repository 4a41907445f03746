"""OpenAI's tokenizers, offline: the vocabularies are part of the package `bpe-openai`, nothing is fetched.

Its Python part is passed by: imported, it builds tables of all its vocabularies, half a second and a hundred megabytes of what
counting does not need. The compiled part, which holds them too, is loaded alone in 50 ms and some 50 MB a vocabulary, when the
first text of such a model is counted or beforehand by `warm`.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any

from policies.tokens import CL100K, O200K, Count, count_input, encoding_for, estimate_tokens


@cache
def tokenizer(encoding: str) -> Count:
    """Return the exact counter of an encoding, `o200k_base` or `cl100k_base`.

    Raises:
        ValueError: for another name.
        ModuleNotFoundError: when the package is not there.
    """
    if encoding not in {O200K, CL100K}:
        raise ValueError(f"there is no tokenizer for {encoding}")
    # Straight to the compiled part: the package's own Encoding builds tables of 200,000 entries that counting does not need.
    count: Count = _compiled().tokenizer_for_encoding(encoding).count

    def of_text(text: str) -> int:
        try:
            return count(text)
        except UnicodeEncodeError:  # a lone surrogate: our API refuses them, an upstream's answer may hold one
            return count(text.encode("utf-8", "replace").decode())

    return of_text


@cache
def _compiled() -> Any:
    package = find_spec("bpe_openai")
    found = PathFinder.find_spec("_bindings", package.submodule_search_locations) if package is not None else None
    if found is None or found.loader is None:
        raise ModuleNotFoundError("the package bpe-openai is not installed, or not as it was when this was written")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def warm(models: Iterable[str]) -> None:
    """Load what these models need; for a thread, at the start of a process that will count."""
    for encoding in {encoding_for(model) for model in models} - {None}:
        tokenizer(str(encoding))("warm")


def counter_for(model: str) -> Count:
    """Return the counter of texts for a model (an upstream's name of it): exact for OpenAI's, else an estimate."""
    encoding = encoding_for(model)
    return estimate_tokens if encoding is None else tokenizer(encoding)


def input_tokens(model: str, endpoint: str, body: Mapping[str, Any]) -> int:
    """Return the input tokens of a request for the upstream's `model`."""
    return count_input(endpoint, body, counter_for(model))
