"""Meters, for the API."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from event_processor.domain.meter_periods import Span
from event_processor.store.series import Point, StoredTotal
from event_processor.web.api.fields import LATEST, Done, Name, Time, done
from event_processor.web.api.router import Call, Empty, Operation
from event_processor.web.context import HubContext
from event_processor.web.problems import ProblemError

__all__ = ["OPERATIONS"]


class MeterOut(msgspec.Struct, frozen=True, kw_only=True):
    """One meter: what its register said last, and when; ``settable`` whether it can be told another value."""

    key: str
    unit: str
    register: float | None
    at: float | None
    used: float | None
    stuck: bool
    settable: bool


class MetersOut(msgspec.Struct, frozen=True):
    items: tuple[MeterOut, ...]


class Points(msgspec.Struct, frozen=True):
    items: tuple[Point, ...]


class Totals(msgspec.Struct, frozen=True):
    items: tuple[StoredTotal, ...]


class ByKey(msgspec.Struct, frozen=True):
    key: Name


class CurveAsked(msgspec.Struct, frozen=True, kw_only=True):
    key: Name
    since: Time | None = None
    until: Time | None = None
    points: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 300


class TotalsAsked(msgspec.Struct, frozen=True, kw_only=True):
    key: Name
    span: Span = "day"
    since: Time = 0.0
    until: Time = float(LATEST)


class RegisterIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the register is set to, or by how much it is moved."""

    value: Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]


def _meters(context: HubContext) -> dict[str, MeterOut]:
    known = {meter.key.lower(): meter for meter in context.settings.meters}
    names = {key.lower(): key for key in (*(meter.key for meter in known.values()), *context.mirror.meters())}
    found = {}
    for lower, key in sorted(names.items()):
        state, meter = context.mirror.meter(key), known.get(lower)
        found[key] = MeterOut(
            key=key,
            unit=meter.unit if meter is not None else "",
            register=_number(state.get("register")),
            at=_number(state.get("at")),
            used=_number(state.get("used")),
            stuck=state.get("stuck") is True,
            settable=meter is not None and bool(meter.control_topic),
        )
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


async def meters(call: Call[Empty, None]) -> MetersOut:
    return MetersOut(tuple(_meters(call.context).values()))


async def readings(call: Call[CurveAsked, None]) -> Points:
    asked, context = call.params, call.context
    until = context.now() if asked.until is None else asked.until
    since = until - 86_400 if asked.since is None else asked.since
    if since >= until:
        raise ProblemError(400, "since: it has to be before until.")
    return Points(await context.read(context.series.readings, asked.key, since, until, asked.points))


async def totals(call: Call[TotalsAsked, None]) -> Totals:
    asked, context = call.params, call.context
    return Totals(await context.read(context.series.totals, asked.key, asked.span, asked.since, asked.until))


async def set_register(call: Call[ByKey, RegisterIn]) -> Done:
    return await _tell(call, "set_register")


async def adjust_register(call: Call[ByKey, RegisterIn]) -> Done:
    return await _tell(call, "adjust_register")


async def _tell(call: Call[ByKey, RegisterIn], what: str) -> Done:
    if call.params.key not in _meters(call.context):
        raise ProblemError(404, "There is no such meter.")
    return done(await call.ask(what, call.params.key, call.body.value))


OPERATIONS: Final = (
    Operation(name="meters", method="GET", path="/meters", role="viewer", handler=meters, answer=MetersOut, tag="meters",
              summary="Meters, and what their registers say"),
    Operation(name="meter.readings", method="GET", path="/meters/{key:path}/readings", role="viewer", handler=readings,
              params=CurveAsked, answer=Points, tag="meters", summary="A meter's curve"),
    Operation(name="meter.totals", method="GET", path="/meters/{key:path}/totals", role="viewer", handler=totals,
              params=TotalsAsked, answer=Totals, tag="meters", summary="What was metered per hour, day or month"),
    Operation(name="meter.set", method="PUT", path="/meters/{key:path}/register", role="operator", handler=set_register,
              params=ByKey, body=RegisterIn, answer=Done, tag="meters", summary="Set a meter's register"),
    Operation(name="meter.adjust", method="POST", path="/meters/{key:path}/adjustments", role="operator",
              handler=adjust_register, params=ByKey, body=RegisterIn, answer=Done, tag="meters",
              summary="Move a meter's register by some amount"),
)  # fmt: skip
