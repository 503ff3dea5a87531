"""The API against its own description, with generated requests: as each role, as nobody, and with what it must refuse.

``API_EXAMPLES`` sets how many requests each operation gets from an admin (default 3); the figure is measured with more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.system.web_kit import WebHub, token_for, web_hub

EXAMPLES = int(os.environ.get("API_EXAMPLES", "3"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
RANK = ("viewer", "operator", "admin")
# The stream does not end, so it has a test of its own.
ENDLESS = "/api/stream"


class Api:
    """A running hub, its description, and a token for each role."""

    def __init__(self, hub: WebHub) -> None:
        self.hub = hub
        hub.wait_until_ready()
        with hub.set_up() as admin:
            tokens = {role: token_for(admin, scope) for role, scope in zip(RANK, ("read", "operate", "admin"), strict=True)}
            self.document = admin.get("/api/openapi.json").json()
        self.headers = {role: {"authorization": f"Bearer {token}"} for role, token in tokens.items()} | {"nobody": {}}
        schema = schemathesis.openapi.from_dict(self.document)
        # One that cannot be read has no ok(): the test fails here.
        found = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
        self.operations = [operation for operation in found if operation.path != ENDLESS]

    def spared(self, case: schemathesis.Case) -> bool:
        """Whether a request would take the tester's own way in: its account, or one of its tokens."""
        ident = str((case.path_parameters or {}).get("id", ""))
        own = case.operation.path.startswith(("/api/users/", "/api/tokens/")) and ident in ("1", "2", "3")
        return own and case.method in ("DELETE", "PATCH")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with _running(tmp_path_factory.mktemp("api"), "") as api:
        yield api


@contextmanager
def _running(folder: Path, database: str) -> Iterator[Api]:
    with web_hub(folder, database=database) as hub:
        yield Api(hub)
        assert hub.program.running
        assert "Traceback" not in hub.program.output
        assert '"level":"ERROR"' not in hub.program.output


def _try(api: Api, operation: APIOperation, role: str, examples: int, mode: GenerationMode) -> list[int]:
    """Send generated requests to one operation; the statuses of the answers, each of which was as it is described."""
    statuses: list[int] = []

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        if not api.spared(case):
            answer = case.call(base_url=api.hub.address, headers=api.headers[role], timeout=20)
            case.validate_response(answer, checks=CHECKS)
            statuses.append(answer.status_code)

    send()
    return statuses


@pytest.mark.parametrize("role", ["nobody", *RANK])
def test_each_role_gets_what_is_described_and_nothing_that_it_may_not_have(api: Api, role: str) -> None:
    examples = {"nobody": 1, "admin": EXAMPLES}.get(role, max(1, EXAMPLES // 2))
    for operation in api.operations:
        needed = operation.definition.raw["x-role"]
        statuses = set(_try(api, operation, role, examples, GenerationMode.POSITIVE))
        if role == "nobody":
            assert statuses <= {401, 429}, operation.label  # the generated requests have generated tokens
        elif RANK.index(role) < RANK.index(needed):
            assert statuses <= {403}, operation.label
        elif not operation.path.startswith(("/api/tokens", "/api/sessions")):  # a token has less of a say in these
            assert not statuses & {401, 403}, operation.label


def test_requests_that_break_the_description_are_refused_with_an_explanation(api: Api) -> None:
    for operation in api.operations:
        if operation.body or len(operation.query) or len(operation.path_parameters):
            assert 500 not in _try(api, operation, "admin", EXAMPLES, GenerationMode.NEGATIVE)


def test_postgresql_takes_what_is_sent_as_sqlite_does(tmp_path: Path, postgresql: str) -> None:
    with _running(tmp_path, postgresql) as api:
        stored = [each for each in api.operations if each.definition.raw["tags"][0] in ("people", "history", "meters")]
        assert len(stored) > 15
        for operation in stored:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode is GenerationMode.POSITIVE or operation.body or len(operation.query) or len(operation.path_parameters):
                    assert 500 not in _try(api, operation, "admin", EXAMPLES, mode)


def test_the_description_lists_every_operation_with_the_role_that_it_needs(api: Api) -> None:
    listed = [operation for methods in api.document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in listed}) == len(listed) > 50
    assert {operation["x-role"] for operation in listed} == set(RANK)
    assert all({"401", "403", "default"} <= set(operation["responses"]) for operation in listed)
