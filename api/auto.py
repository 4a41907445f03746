"""`body.model: "auto"` in a request: what `core.auto` decides, and how the caller is told why it can't."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.problems import Problem, invalid
from core import auto
from policies.auto import AutoError, Decision, NoModelFits
from policies.catalog import Catalog


def route(
    endpoint: str, body: Mapping[str, Any], catalog: Catalog, ttft_s: Mapping[str, float] | None = None
) -> Decision | None:
    """Choose the model of a checked request that asks for `auto`, as `core.auto.route` does.

    Raises:
        Problem: 422 when the operation can't be routed, the catalog says nothing about `auto`, or no model fits.
    """
    try:
        return auto.route(endpoint, body, catalog, ttft_s)
    except NoModelFits as error:
        detail = f"No model can serve this request. {_sentences(error.passed_over)}"
        raise Problem("no_model_fits", detail, param="body.model") from None
    except AutoError as error:
        detail = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise invalid("/body/model", detail, code="unknown_model") from None


def _sentences(passed_over: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{model}: {why}." for model, why in passed_over)
