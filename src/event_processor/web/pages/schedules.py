"""The schedules: when which of them is due, a switch for each, and a form to make, change and delete those of their file."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from event_processor.domain.schedule_file import Problem
from event_processor.domain.schedule_times import Cron, Daily, When
from event_processor.domain.schedule_words import clock_text
from event_processor.domain.schedules import Task
from event_processor.web.api.schedules import check_schedule, coming, last_times
from event_processor.web.auth import context_of, require
from event_processor.web.auth.current import record, unrecorded
from event_processor.web.context import HubContext
from event_processor.web.pages.render import fragment, page, said
from event_processor.web.pages.schedule_form import DAYS, MOST_FORM, as_sent, form_of, new_form, spec_of_form, suggestions
from event_processor.web.problems import ProblemError

__all__ = ["schedule_change", "schedule_check", "schedule_delete", "schedule_list", "schedule_new", "schedule_save"]

_FORM: Final = "schedule_form.html"
_CHECKED: Final = "schedule_checked.html"


@require("viewer")
async def schedule_list(request: Request) -> Response:
    """When what is due, and a switch for each."""
    context = context_of(request)
    shown = await context.read(_shown, context)
    return page(request, "schedules.html", at="schedules", schedules=shown)


def _shown(context: HubContext) -> list[dict[str, object]]:
    """What the page says of each. Reads the store."""
    states, last = context.mirror.schedules(), last_times(context)
    shown: list[dict[str, object]] = []
    for each in context.schedules.shown():
        schedule = each.schedule
        on = schedule.is_on(states.get(schedule.id))
        shown.append(
            {
                "id": schedule.id,
                "title": schedule.title,
                "on": on,
                "when": _when(schedule.when) + (f", {schedule.zone}" if schedule.zone else ""),
                "tasks": [_task(task) for task in schedule.tasks],
                "next": next(iter(coming(context, schedule)), None) if on else None,
                "last": last.get(schedule.id),
                "editable": each.editable,
            }
        )
    return shown


@require("admin")
async def schedule_new(request: Request) -> Response:
    """The form for a new one."""
    return await _form(request, new_form(), [], ())


@require("admin")
async def schedule_change(request: Request) -> Response:
    """The form with one that is there."""
    context = context_of(request)
    found = await context.read(context.schedules.find, request.path_params["schedule"])
    if found is None:
        raise ProblemError(404, "There is no such schedule. It may have been deleted.")
    if not found.editable:
        raise ProblemError(409, "This schedule is a section of app.conf, and is changed there.")
    problems, times = await context.read(check_schedule, context, found.written)
    return await _form(request, form_of(found), problems, times)


@require("admin")
async def schedule_check(request: Request) -> Response:
    """What is wrong with what stands in the form, while somebody fills it in, and when it would be due."""
    unrecorded(request)
    context = context_of(request)
    form = await request.form(max_fields=40, max_part_size=MOST_FORM)
    found, times = await context.read(_checked, context, form)
    return fragment(request, _CHECKED, {"found": found, "times": times, "fresh": False})


@require("admin")
async def schedule_save(request: Request) -> Response:
    """Save what stands in the form, and go by it from now on."""
    context = context_of(request)
    form = await request.form(max_fields=40, max_part_size=MOST_FORM)
    spec, missing = spec_of_form(form)
    refused = ""
    if spec is not None and not missing:
        record(request, "schedule.save", spec.id)
        known = str(form.get("version", "")) if form.get("id") else ""
        try:
            await context.reschedule(lambda: context.schedules.put(spec, known=known))
            return _go(request, f"/schedules#schedule-{spec.id}")
        except ProblemError as error:
            if error.status != 422:
                raise
            refused = error.problem.detail
    unrecorded(request)
    found, times = await context.read(_checked, context, form)
    if not any(each.severity == "error" for each in found):
        found.append(Problem(schedule="", field="", message=refused))
    if "hx-request" not in request.headers:
        return await _form(request, as_sent(form), found, times, status=422)
    response = fragment(request, _CHECKED, {"found": found, "times": times, "fresh": False})
    response.headers.update(said(request, "Nothing was saved: something in the form is to mend.", bad=True).headers)
    del response.headers["hx-reswap"]
    return response


@require("admin")
async def schedule_delete(request: Request) -> Response:
    """Delete one."""
    context, ident = context_of(request), request.path_params["schedule"]
    record(request, "schedule.delete", ident)
    await context.reschedule(lambda: context.schedules.delete(ident))
    return _go(request, "/schedules")


def _checked(context: HubContext, form: FormData) -> tuple[list[Problem], tuple[float, ...]]:
    """All that is wrong, or looks wrong, with what stands in the form, and when it would be due."""
    spec, found = spec_of_form(form)
    if spec is None:
        return found, ()
    problems, times = check_schedule(context, spec, new=not form.get("id"))
    if any(each.field in ("at", "cron") for each in found):  # that none of them is given is said already
        problems = [each for each in problems if each.field != "at"]
    return [*found, *problems], times


async def _form(
    request: Request, form: dict[str, object], found: list[Problem], times: tuple[float, ...], *, status: int = 200
) -> Response:
    context = context_of(request)
    waiting = context.rules.book.happening("schedule", str(form["id"])) if form["id"] else ()
    return page(
        request,
        _FORM,
        at="schedules",
        status=status,
        form=form,
        waiting=[(compiled.rule.id, compiled.rule.title) for compiled in waiting],
        days=DAYS,
        suggestions=await context.read(suggestions, context),
        found=found,
        times=times,
        fresh=not found and not times,
        file=context.schedules.path.name,
        place=context.settings.house.place,
    )


def _go(request: Request, address: str) -> Response:
    """To another page, when something has been done."""
    if "hx-request" in request.headers:
        return HTMLResponse("", 200, {"HX-Redirect": address})
    return RedirectResponse(address, 303)


def _when(when: When) -> str:
    if isinstance(when, Daily):
        return f"{', '.join(map(clock_text, when.times))} {_days(when.days)}"
    if isinstance(when, Cron):
        return f"by cron: {when.expression}"
    minutes, seconds = divmod(abs(when.offset_s), 60)
    parts = ((minutes // 60, "h"), (minutes % 60, "min"), (seconds, "s"))
    span = " ".join(f"{number} {unit}" for number, unit in parts if number)
    offset = f"{span} {'after' if when.offset_s > 0 else 'before'} " if when.offset_s else "at "
    return f"{offset}{when.event} {_days(when.days)}"


def _days(days: frozenset[int]) -> str:
    if len(days) == 7:
        return "every day"
    if days == frozenset(range(5)):
        return "Monday to Friday"
    return "on " + ", ".join(DAYS[day][1] for day in sorted(days))


def _task(task: Task) -> str:
    if task.do == "mode":
        return f"mode {task.name}"
    if task.do == "command":
        return f"{task.name}: {task.value or 'on'}"
    return f"{task.do} {task.subject if task.do != 'run' else 'rule'} {task.name}"
