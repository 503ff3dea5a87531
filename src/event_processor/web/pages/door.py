"""The pages in front of the login: the first visit, the login with its second step; and the page that says what went wrong."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from event_processor.web.auth import auth_of, current
from event_processor.web.auth.service import NeedsCode, SignedIn
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError, answer

__all__ = ["error_page", "login", "logout", "setup"]


async def login(request: Request) -> Response:
    """Ask for name and password, then for the second factor where there is one."""
    auth = auth_of(request)
    if request.method == "GET":
        if auth.first.needed:
            return RedirectResponse("/setup", 303)
        if current(request) is not None:
            return RedirectResponse(_next(request.query_params.get("next", "")), 303)
        return page(request, "login.html", ticket="", name="", wrong="", next=_next(request.query_params.get("next", "")))
    form = await request.form(max_fields=10)
    given = {name: str(form.get(name, ""))[:1000] for name in ("name", "password", "ticket", "code", "next")}
    target = _next(given["next"])
    try:
        if given["ticket"]:
            signed = await auth.second_step(request, given["ticket"], given["code"])
        else:
            signed = await auth.sign_in(request, given["name"], given["password"])
    except NeedsCode as needs:
        return page(request, "login.html", ticket=needs.ticket, name=given["name"], wrong="", next=target)
    except ProblemError as error:
        if error.status >= 500:
            raise
        over = "Start again" in error.problem.detail
        return page(
            request,
            "login.html",
            status=error.status,
            ticket="" if over else given["ticket"],
            name=given["name"],
            wrong=error.problem.detail,
            next=target,
        )
    return _in(request, signed, target)


async def setup(request: Request) -> Response:
    """Make the first account, with the code of the console."""
    auth = auth_of(request)
    if not auth.first.needed:
        return RedirectResponse("/login", 303)
    if request.method == "GET":
        auth.first.visited()
        return page(request, "setup.html", name="", code="", wrong="")
    form = await request.form(max_fields=10)
    given = {name: str(form.get(name, ""))[:1000] for name in ("code", "name", "password", "again")}
    try:
        if given["password"] != given["again"]:
            raise ProblemError(422, "The two passwords are not the same.")
        signed = await auth.set_up(request, given["code"], given["name"].strip().lower(), given["password"])
    except ProblemError as error:
        if error.status >= 500:
            raise
        return page(
            request, "setup.html", status=error.status, name=given["name"], code=given["code"], wrong=error.problem.detail
        )
    return _in(request, signed, "/")


async def logout(request: Request) -> Response:
    """End the session."""
    response = RedirectResponse("/login", 303)
    user = current(request)
    if user is not None and user.session:
        await auth_of(request).sign_out(request, response, user)
    return response


async def error_page(request: Request, error: ProblemError) -> Response:
    """What went wrong, for a person; a script gets it as problem details."""
    if "hx-request" in request.headers:
        return answer(error)
    try:
        response = page(request, "error.html", status=error.status, error=error.problem)
    except Exception:
        return answer(error)  # the page itself needs what is broken
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after)))
    return response


def _in(request: Request, signed: SignedIn, target: str) -> Response:
    response = RedirectResponse(target, 303)
    signed.remember(request, response)
    return response


def _next(target: str) -> str:
    """A page of ours, and nothing else, also where the target is written to look like one."""
    plain = target.isascii() and target.isprintable() and "\\" not in target
    return target if plain and target.startswith("/") and not target.startswith("//") else "/"
