"""Logging in and out: decides who is who, slows down who guesses, and writes down who did what."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, delete, update
from starlette.requests import Request
from starlette.responses import Response

from event_processor.store import tables as t
from event_processor.web.auth import accounts
from event_processor.web.auth.attempts import Attempts
from event_processor.web.auth.cookies import ANONYMOUS, SESSION, cookie_name
from event_processor.web.auth.current import seat_of
from event_processor.web.auth.factors import LOST, seal_all, use_code
from event_processor.web.auth.first import FirstRun
from event_processor.web.auth.offers import Offers
from event_processor.web.auth.passwords import Passwords, check_password
from event_processor.web.auth.sealing import Sealer
from event_processor.web.auth.values import ROLES, SCOPES, Account, Role, User, role_of
from event_processor.web.problems import ProblemError

if TYPE_CHECKING:
    from event_processor.web.context import HubContext

__all__ = ["Auth", "NeedsCode", "SignedIn"]

log = logging.getLogger("event_processor.web")

AT_ONCE: Final = 2
"""Passwords that are compared at a time: each takes 19 MiB."""

BELIEVED_FOR: Final = 5.0
"""Seconds for which a session or token is believed without asking the store again. What is revoked here is so at once."""

MOST_BELIEVED: Final = 1000
SEEN_EVERY: Final = 60.0
"""Seconds between two notes of when a session or token was last used."""

TICKET_FOR: Final = 300.0
"""Seconds in which the second factor has to follow the password."""

MOST_TICKETS: Final = 1000


class SignedIn:
    """A login that worked: ``remember`` puts it into the answer."""

    __slots__ = ("max_age", "secret", "user")

    def __init__(self, user: User, secret: str, max_age: int) -> None:
        self.user = user
        self.secret = secret
        self.max_age = max_age

    def remember(self, request: Request, response: Response) -> None:
        """Set the cookie, and take the one away that the form had."""
        secure = request.url.scheme == "https"
        response.set_cookie(
            cookie_name(SESSION, secure), self.secret, self.max_age, path="/", secure=secure, httponly=True, samesite="lax"
        )
        response.delete_cookie(cookie_name(ANONYMOUS, secure), path="/", secure=secure, httponly=True, samesite="strict")


class NeedsCode(Exception):
    """The password was right, and a second factor is asked for: ``Auth.second_step`` takes this ticket and a code."""

    def __init__(self, ticket: str) -> None:
        super().__init__("a second factor is asked for")
        self.ticket = ticket


class _Believed:
    __slots__ = ("expires_at", "seen_at", "until", "user")

    def __init__(self, user: User, expires_at: float | None, seen_at: float, until: float) -> None:
        self.user = user
        self.expires_at = expires_at
        self.seen_at = seen_at
        self.until = until


class Auth:
    """On the web's loop. Everything may raise ``ProblemError``, with a sentence for the person."""

    def __init__(self, context: HubContext) -> None:
        self.context = context
        self.passwords = Passwords()
        self.attempts = Attempts()
        self.offers = Offers(context.runtime.clock.monotonic)
        self.sealer = Sealer(context.folder, context.settings.web.second_factor_key)
        self.first = FirstRun(context.runtime.clock.monotonic)
        self._believed: OrderedDict[str, _Believed] = OrderedDict()
        self._epoch = 0
        self._hashing = asyncio.Semaphore(AT_ONCE)
        self._tickets: OrderedDict[str, tuple[int, str, float]] = OrderedDict()
        self._tasks: set[asyncio.Task[object]] = set()

    async def begin(self, address: str) -> None:
        """Once, when the server listens at ``address``: see whether anybody has an account, and encrypt what is not yet."""
        if not await self.context.read(accounts.accounts, self.context.reader):
            self.first.begin(address)
            return
        try:
            sealed, lost = await self.context.write(lambda connection: seal_all(connection, self.sealer))
        except OSError as error:
            log.error("Secrets of second factors stay unencrypted in the store for now. %s", error)
            return
        if sealed:
            log.info("%d secrets of second factors are encrypted now; the key is %s.", sealed, self.sealer.place)
        for name in lost:
            log.error("%s The key that is used is %s: put the right one back, if there is a copy.", LOST.format(name=name),
                      self.sealer.place)  # fmt: skip

    # -- who asks ----------------------------------------------------------------------------------------------------

    async def by_session(self, secret: str) -> User | None:
        """Whose session it is; None where it is over, or was never one."""
        hashed = accounts.hash_secret(secret)
        known = self._look(f"session {hashed}")
        if known is None:
            epoch = self._epoch
            row = await self.context.read(accounts.find_session, self.context.reader, hashed)
            if row is None or row.disabled:
                return None
            user = User(id=row.user_id, name=row.name, role=role_of(row.role), session=hashed)
            known = self._believe(f"session {hashed}", user, row.expires_at, row.seen_at, epoch)
        now = self.context.now()
        idle = self.context.settings.web.idle_hours * 3600
        if (known.expires_at is not None and now >= known.expires_at) or now - known.seen_at > idle:
            self._believed.pop(f"session {hashed}", None)
            self._soon(lambda connection: connection.execute(delete(t.sessions).where(t.sessions.c.hash == hashed)))
            return None
        if now - known.seen_at > SEEN_EVERY:
            known.seen_at = now
            self._soon(
                lambda connection: connection.execute(
                    update(t.sessions).where(t.sessions.c.hash == hashed).values(seen_at=now)
                )
            )
        return known.user

    async def by_token(self, token: str, address: str) -> User:
        """Whose token it is. Raises ``ProblemError`` 401 where it is none, is over, or was revoked; 429 for who guesses."""
        hashed = accounts.hash_secret(token)
        known = self._look(f"token {hashed}")
        now = self.context.now()
        if known is None:
            epoch = self._epoch
            row = await self.context.read(accounts.find_token, self.context.reader, hashed)
            over = row is None or row.disabled or row.revoked_at is not None
            if row is None or over or (row.expires_at is not None and now >= row.expires_at):
                self.attempts.wrong_token(address, self.context.runtime.clock.monotonic())
                raise ProblemError(401, "This token is unknown, expired or revoked.")
            scope = SCOPES.get(row.scopes, "viewer")
            role = min(role_of(row.role), scope, key=ROLES.index)
            user = User(id=row.user_id, name=row.user, role=role, token=row.id)
            known = self._believe(f"token {hashed}", user, row.expires_at, row.used_at or 0.0, epoch)
        if known.expires_at is not None and now >= known.expires_at:
            raise ProblemError(401, "This token is unknown, expired or revoked.")
        if now - known.seen_at > SEEN_EVERY:
            known.seen_at = now
            ident = known.user.token
            self._soon(
                lambda connection: connection.execute(update(t.tokens).where(t.tokens.c.id == ident).values(used_at=now))
            )
        return known.user

    # -- in and out --------------------------------------------------------------------------------------------------

    async def sign_in(self, request: Request, name: str, password: str) -> SignedIn:
        """Log in. Raises ``NeedsCode`` where a second factor is asked for; ``ProblemError`` 403 or 429 otherwise."""
        context, address = self.context, address_of(request)
        self.attempts.begin(address, name, context.runtime.clock.monotonic())
        row = await context.read(accounts.find_user, context.reader, name)
        async with self._hashing:
            right = await context.read(self.passwords.matches, None if row is None else row.password_hash, password)
        if row is None or not right or row.disabled:
            # A name that nobody has is not written down: it may be a password that somebody typed into the wrong field.
            await self.note("login.failed", "a name that nobody has" if row is None else row.name, request=request, who="")
            raise ProblemError(403, "Name and password do not go together.")
        if self.passwords.outdated(row.password_hash):
            async with self._hashing:
                better = await context.read(self.passwords.hash, password)
            users = t.users
            await context.write(
                lambda connection: connection.execute(update(users).where(users.c.id == row.id).values(password_hash=better))
            )
        if row.totp_secret is not None:
            ticket = secrets.token_urlsafe(24)
            self._tickets[ticket] = (row.id, row.password_hash, context.runtime.clock.monotonic() + TICKET_FOR)
            while len(self._tickets) > MOST_TICKETS:
                self._tickets.popitem(last=False)
            raise NeedsCode(ticket)
        self.attempts.succeeded(address, name)
        return await self._enter(request, row, "password")

    async def second_step(self, request: Request, ticket: str, code: str) -> SignedIn:
        """The second factor, after ``NeedsCode``: a code of the app, or a recovery code, each once."""
        context, address = self.context, address_of(request)
        clock = context.runtime.clock.monotonic()
        ident, password, until = self._tickets.get(ticket, (0, "", 0.0))
        if clock >= until:
            raise ProblemError(403, "That took too long. Start again with the password.")
        row = await context.read(accounts.find_user_by_id, context.reader, ident)
        if row is None or row.disabled or row.totp_secret is None or row.password_hash != password:
            raise ProblemError(403, "Start again with the password.")
        self.attempts.begin_code(address, row.name, clock)
        try:
            how = await context.write(lambda connection: use_code(connection, self.sealer, ident, code, context.now()))
        except OSError as error:
            raise ProblemError(503, str(error)) from error
        if how not in ("password and second factor", "password and recovery code"):
            await self.note("login.failed", row.name, "second factor", request=request, who="")
            raise ProblemError(403, LOST.format(name=row.name) if how == "lost" else "This code is wrong, or was used before.")
        self._tickets.pop(ticket, None)
        self.attempts.succeeded(address, row.name)
        return await self._enter(request, row, how)

    async def set_up(self, request: Request, code: str, name: str, password: str) -> SignedIn:
        """The first visit: make the first account, which may do everything, and log it in."""
        self.attempts.begin(address_of(request), "setup", self.context.runtime.clock.monotonic())
        self.first.check(code)
        check_password(password, name)
        account = await self.add_user(name, password, "admin", first=True)
        self.first.done()
        self.attempts.succeeded(address_of(request), "setup")
        await self.note("user.add", name, "role admin, at the set-up", request=request, who=name)
        row = await self.context.read(accounts.find_user, self.context.reader, account.name)
        if row is None:
            raise ProblemError(409, "The account was deleted in the meantime.")
        return await self._enter(request, row, "set-up")

    async def sign_out(self, request: Request, response: Response, user: User) -> None:
        """End this session."""
        await self.context.write(
            lambda connection: connection.execute(delete(t.sessions).where(t.sessions.c.hash == user.session))
        )
        self.forget()
        await self.note("logout", user.name, request=request, who=user.name)
        secure = request.url.scheme == "https"
        response.delete_cookie(cookie_name(SESSION, secure), path="/", secure=secure, httponly=True, samesite="lax")
        response.headers["clear-site-data"] = '"cache", "storage"'

    async def add_user(self, name: str, password: str, role: Role, *, first: bool = False) -> Account:
        """Make an account."""
        check_password(password, name)
        async with self._hashing:
            hashed = await self.context.read(self.passwords.hash, password)
        now = self.context.now()
        return await self.context.write(
            lambda connection: accounts.add_user(connection, name=name, role=role, password_hash=hashed, now=now, first=first)
        )

    async def verify(self, request: Request, user: User, password: str) -> None:
        """Ask a person who is logged in for the password once more. Raises as ``sign_in``."""
        context, address = self.context, address_of(request)
        self.attempts.begin(address, user.name, context.runtime.clock.monotonic())
        row = await context.read(accounts.find_user, context.reader, user.name)
        async with self._hashing:
            right = await context.read(self.passwords.matches, None if row is None else row.password_hash, password)
        if not right:
            await self.note("login.failed", user.name, "asked for the password once more", request=request, who=user.name)
            raise ProblemError(403, "That is not your password.")
        self.attempts.succeeded(address, user.name)

    async def hash(self, password: str, name: str) -> str:
        """What is kept of a new password. Raises ``ProblemError`` 422 for one that is too easy."""
        check_password(password, name)
        async with self._hashing:
            return await self.context.read(self.passwords.hash, password)

    async def note(self, action: str, subject: str = "", detail: str = "", *, request: Request, who: str) -> None:
        """Write into the audit who did what, and from where. The guard then leaves it alone."""
        seat_of(request).recorded = True
        at, address = self.context.now(), address_of(request)
        await self.context.write(
            lambda connection: accounts.note(
                connection, at=at, who=who, address=address, action=action, subject=subject, detail=detail
            )
        )

    def forget(self) -> None:
        """Believe nobody without asking the store: accounts, sessions or tokens were changed."""
        self._believed.clear()
        self._epoch += 1

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _enter(self, request: Request, row: accounts.Row, how: str) -> SignedIn:
        now = self.context.now()
        hours = self.context.settings.web.session_hours
        address, agent = address_of(request), request.headers.get("user-agent", "")
        before = seat_of(request).user

        def work(connection: Connection) -> str:
            # This browser's cookie is replaced: nobody else may go on with the old one.
            if before is not None and before.session:
                connection.execute(delete(t.sessions).where(t.sessions.c.hash == before.session))
            accounts.note(connection, at=now, who=row.name, address=address, action="login", subject=row.name, detail=how)
            return accounts.new_session(
                connection, user=row.id, now=now, expires_at=now + hours * 3600, address=address, agent=agent
            )

        secret = await self.context.write(work)
        self.forget()
        user = User(id=row.id, name=row.name, role=role_of(row.role), session=accounts.hash_secret(secret))
        return SignedIn(user, secret, int(hours * 3600))

    def _look(self, name: str) -> _Believed | None:
        known = self._believed.get(name)
        if known is None or self.context.runtime.clock.monotonic() >= known.until:
            return None
        return known

    def _believe(self, name: str, user: User, expires_at: float | None, seen_at: float, epoch: int) -> _Believed:
        """Believe it for a while, unless accounts were changed since it was looked up: it may be revoked by now."""
        known = _Believed(user, expires_at, seen_at, self.context.runtime.clock.monotonic() + BELIEVED_FOR)
        if epoch != self._epoch:
            return known
        self._believed[name] = known
        while len(self._believed) > MOST_BELIEVED:
            self._believed.popitem(last=False)
        return known

    def _soon(self, work: Callable[[Connection], object]) -> None:
        """Write without waiting for it: when somebody was last here is no reason to fail."""

        async def run() -> object:
            try:
                return await self.context.write(work)
            except ProblemError:
                return None

        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def address_of(request: Request) -> str:
    """Where a request comes from: the client's address, behind a trusted proxy that proxy's client's."""
    return request.client.host[:64] if request.client is not None else ""
