"""The API's description (OpenAPI 3.1), made from the types that the handlers use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from event_processor.web.api.router import PREFIX, Operation
from event_processor.web.problems import MEDIA_TYPE, Problem

__all__ = ["describe"]

_REF: Final = "#/components/schemas/{name}"


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document."""
    types: list[Any] = [Problem]
    for operation in operations:
        types += [each for each in (operation.body, operation.answer) if each is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    found = iter(schemas)
    problem = next(found)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        body = None if operation.body is None else next(found)
        answer = None if operation.answer is None else next(found)
        paths.setdefault(PREFIX + re.sub(r":\w+}", "}", operation.path), {})[operation.method.lower()] = _operation(
            operation, body, answer, problem, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Event processor",
            "version": _version(),
            "description": "Everything that the dashboard does. Times are in seconds since the epoch.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    operation: Operation, body: Any, answer: Any, problem: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    failed = {"description": "What is wrong (RFC 9457)", "content": {MEDIA_TYPE: {"schema": problem}}}
    if answer is not None:
        good: dict[str, Any] = {"description": "Done", "content": {"application/json": {"schema": answer}}}
    elif operation.media != "application/json":
        good = {"description": "Done", "content": {operation.media: {"schema": {"type": "string"}}}}
    else:
        good = {"description": "Done"}
    status = 204 if answer is None and operation.media == "application/json" else operation.status
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "x-role": operation.role,
        "responses": {str(status): good, "401": failed, "403": failed, "default": failed},
    }
    parameters = _parameters(operation, components)
    if operation.method == "POST" and not operation.reads:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Sent again with the same one, the request is carried out once.",
                "schema": {"type": "string", "maxLength": 200},
            }
        )
    if parameters:
        described["parameters"] = parameters
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described


def _parameters(operation: Operation, components: dict[str, Any]) -> list[dict[str, Any]]:
    if not operation.params.__struct_fields__:
        return []
    (reference,), own = msgspec.json.schema_components([operation.params], ref_template=_REF)
    schema = own.pop(reference["$ref"].rpartition("/")[2])
    components.update(own)
    in_path = set(re.findall(r"{(\w+)", operation.path))
    found = []
    for name, each in schema["properties"].items():
        kind = _without_null(each)
        described = {"name": name, "in": "path" if name in in_path else "query", "schema": kind}
        if name in in_path or name in schema.get("required", ()):
            described["required"] = True
        if "description" in kind:
            described["description"] = kind.pop("description")
        found.append(described)
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is never ``null``."""
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    if len(options) == 1:
        return {**kept, **options[0]}
    return {**kept, "anyOf": options} if options else kept


def _version() -> str:
    try:
        return version("pylib-automation")
    except PackageNotFoundError:
        return "0"
