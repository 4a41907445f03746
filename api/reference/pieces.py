"""What the descriptions of operations are made of, and adding one to the application."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

Document = dict[str, Any]

#: Summary, description, parameters, request body, answers, statuses of problems beside the usual ones.
Operation = tuple[str, str, list[Document], Document | None, dict[int, Document], tuple[int, ...]]

TEXT: Final = {"type": "string"}
TIME: Final = {"type": "string", "format": "date-time"}
PATH_ID: Final = {"name": "id", "in": "path", "required": True, "schema": TEXT}
_ID_PATTERN: Final = "_[0-7][0-9a-hjkmnp-tv-z]{25}$"


def typed_id(prefix: str) -> Document:
    """Return the schema of an id that names what it is of."""
    return {"type": "string", "pattern": f"^{prefix}{_ID_PATTERN}"}


def ref(model: type[BaseModel]) -> Document:
    """Return what stands for a model's schema."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def query(name: str, schema: Document, description: str) -> Document:
    """Return an optional parameter of the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def header(name: str, schema: Document, description: str) -> Document:
    """Return an optional header."""
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def answer(description: str, model: type[BaseModel] | None = None, **headers: str) -> Document:
    """Return an answer; ``headers`` are what each tells, by its name with ``_`` for ``-``."""
    told: Document = {"description": description}
    if model is not None:
        told["content"] = {"application/json": {"schema": ref(model)}}
    if headers:
        told["headers"] = {
            name.replace("_", "-"): {"description": text, "schema": TEXT} for name, text in headers.items()
        }
    return told


def add_operation(  # noqa: PLR0913 - what is told of an operation
    app: FastAPI,
    method: str,
    path: str,
    handler: Callable[..., Any],
    answer: type[BaseModel] | None,
    told: str,
    *,
    tag: str,
    status: int = 200,
    summary: str | None = None,
    parameters: Sequence[Document] = (),
    body: Document | None = None,
    problems: Sequence[int] = (),
) -> None:
    """Add an operation to the application.

    Args:
        app: where to.
        method: of HTTP.
        path: with ``{id}`` where it is about one object.
        handler: what answers.
        answer: the shape of a good answer; None where it is empty.
        told: what a good answer means.
        tag: the heading it is shown under.
        status: of a good answer.
        summary: a title; made of the handler's name unless given.
        parameters: beside the id.
        body: the request's.
        problems: statuses of problems beside the usual ones.
    """
    if "{id}" in path:
        parameters = [PATH_ID, *parameters]
    extra: Document = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        extra["requestBody"] = body
    answers: dict[int | str, Document] = {status: {"description": told} | ({"model": answer} if answer else {})}
    # What a problem looks like is filled in where the document is finished.
    answers |= {problem: {"description": "Problem."} for problem in problems}
    app.add_api_route(
        path,
        handler,
        methods=[method],
        summary=summary,
        status_code=status,
        tags=[tag],
        responses=answers,
        openapi_extra=extra,
    )
