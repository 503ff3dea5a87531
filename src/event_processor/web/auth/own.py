"""What people do with their own account: another password, a second factor, its recovery codes.

For a login with a password only: a token must not be able to lock its owner out.
"""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request

from event_processor.store.people import NO_SECOND_FACTOR
from event_processor.web.auth import accounts
from event_processor.web.auth.current import auth_of, signed_in
from event_processor.web.auth.second import Offer, check_totp, hash_code, make_offer, make_recovery_codes
from event_processor.web.auth.service import Auth
from event_processor.web.auth.values import User
from event_processor.web.problems import ProblemError

__all__ = ["change_password", "confirm_second_factor", "drop_second_factor", "offer_second_factor"]


async def change_password(request: Request, old: str, new: str) -> None:
    """Another password; ends every session of the account, this one too. Raises ``ProblemError``."""
    auth, user = _person(request)
    await auth.verify(request, user, old)
    if new == old:
        raise ProblemError(422, "That is the password that you have.")
    hashed = await auth.hash(new, user.name)
    now = auth.context.now()
    await auth.context.write(lambda connection: accounts.change_user(connection, user.id, now, password_hash=hashed))
    auth.forget()
    await auth.note("password.change", user.name, request=request, who=user.name)


async def offer_second_factor(request: Request, password: str) -> Offer:
    """A new secret, to be scanned. Not in force before ``confirm_second_factor``. Raises ``ProblemError``."""
    auth, user = _person(request)
    await auth.verify(request, user, password)
    offer = make_offer(user.name)
    auth.offers.put(user.id, offer.secret)
    return offer


async def confirm_second_factor(request: Request, code: str) -> tuple[str, ...]:
    """The first code of the app: from now on it is asked for at the login. Returns the recovery codes, shown this once.

    The other logins of the account end: they were made without it.
    """
    auth, user = _person(request)
    secret, now = auth.offers.get(user.id), auth.context.now()
    if secret is None:
        raise ProblemError(409, "Nothing was offered, or it was too long ago: start again.")
    step = check_totp(secret, code, None, now)
    if step is None:
        raise ProblemError(422, "This is not the code that the app should show now. Is the phone's clock right?")
    codes = make_recovery_codes()
    sealed = await auth.context.read(auth.sealer.seal, user.id, secret)

    def work(connection: Connection) -> None:
        accounts.change_user(connection, user.id, now, totp_secret=sealed, totp_encrypted=True, totp_last_step=step)
        accounts.put_recovery(connection, user.id, tuple(map(hash_code, codes)))
        accounts.end_sessions(connection, user.id, but=user.session)

    await auth.context.write(work)
    auth.forget()
    auth.offers.drop(user.id)
    await auth.note("second_factor.on", user.name, request=request, who=user.name)
    return codes


async def drop_second_factor(request: Request, password: str) -> None:
    """Log in with the password alone from now on. Raises ``ProblemError``."""
    auth, user = _person(request)
    await auth.verify(request, user, password)
    now = auth.context.now()

    def work(connection: Connection) -> None:
        accounts.change_user(connection, user.id, now, **NO_SECOND_FACTOR)
        accounts.put_recovery(connection, user.id, ())
        accounts.end_sessions(connection, user.id, but=user.session)

    await auth.context.write(work)
    auth.forget()
    await auth.note("second_factor.off", user.name, request=request, who=user.name)


def _person(request: Request) -> tuple[Auth, User]:
    user = signed_in(request)
    if user.token:
        raise ProblemError(403, "This needs a login with the password: a token cannot change how its owner logs in.")
    return auth_of(request), user
