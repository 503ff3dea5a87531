"""The second factor: six digits of an app (TOTP, RFC 6238), and recovery codes for the day when the phone is gone."""

from __future__ import annotations

import hashlib
import secrets
from io import BytesIO
from typing import Final

import msgspec
import pyotp
import segno

__all__ = ["RECOVERY_CODES", "Offer", "check_totp", "hash_code", "make_offer", "make_recovery_codes"]

RECOVERY_CODES: Final = 10
"""Recovery codes that one gets."""

ISSUER: Final = "Event Processor"
_PERIOD_S: Final = 30
_SIGNS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A second factor that is not in force yet: the secret to type or, as ``svg``, to scan. Shown once."""

    secret: str
    uri: str
    svg: str


def make_offer(name: str) -> Offer:
    """A new secret for an account."""
    secret = pyotp.random_base32()
    uri = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)
    drawing = BytesIO()
    segno.make_qr(uri, error="m").save(
        drawing, kind="svg", scale=4, border=4, xmldecl=False, svgns=True, nl=False, dark="#000", light="#fff"
    )
    return Offer(secret=secret, uri=uri, svg=drawing.getvalue().decode())


def check_totp(secret: str, code: str, last_step: int | None, now: float) -> int | None:
    """The time step that a code belongs to, or None where it is wrong or was used before (RFC 6238 section 5.2).

    A clock may be off by one step in either direction.
    """
    code = code.replace(" ", "")
    if not (code.isascii() and code.isdigit() and len(code) == 6):
        return None
    totp = pyotp.TOTP(secret)
    step = int(now // _PERIOD_S)
    found = None
    for near in (step - 1, step, step + 1):
        if secrets.compare_digest(totp.at(near * _PERIOD_S), code) and (last_step is None or near > last_step):
            found = near
    return found


def make_recovery_codes() -> tuple[str, ...]:
    """New codes, each for one login without the app. Shown once."""
    return tuple("-".join("".join(secrets.choice(_SIGNS) for _ in range(5)) for _ in range(3)) for _ in range(RECOVERY_CODES))


def hash_code(code: str) -> str:
    """What is kept of a recovery code. It has 74 random bits, which nobody tries out, so a plain hash will do. It must not
    need the key of second factors: a code is what is left when that is lost."""
    return hashlib.sha256(code.strip().lower().replace(" ", "").replace("-", "").encode()).hexdigest()
