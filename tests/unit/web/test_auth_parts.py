"""The parts of the login by themselves: guessing, passwords, codes, the first visit."""

from __future__ import annotations

import logging

import pyotp
import pytest

from event_processor.web.auth.attempts import (
    FREE_PER_ACCOUNT,
    FREE_PER_ADDRESS,
    LONGEST_ACCOUNT,
    LONGEST_CODE,
    MOST_REMEMBERED,
    Attempts,
)
from event_processor.web.auth.first import AGAIN_AFTER, TRIES, VALID_FOR, FirstRun
from event_processor.web.auth.offers import MOST_OFFERS, OFFERED_FOR, Offers
from event_processor.web.auth.passwords import LONGEST, Passwords, check_password
from event_processor.web.auth.second import RECOVERY_CODES, check_totp, hash_code, make_offer, make_recovery_codes
from event_processor.web.auth.values import may
from event_processor.web.problems import ProblemError


def _refused(attempts: Attempts, address: str, account: str, now: float) -> float:
    with pytest.raises(ProblemError) as refused:
        attempts.begin(address, account, now)
    assert refused.value.status == 429
    assert refused.value.retry_after is not None
    return refused.value.retry_after


def test_each_failure_of_an_account_doubles_its_wait_up_to_a_minute_wherever_they_come_from() -> None:
    attempts, now, waits = Attempts(), 0.0, []
    for number in range(FREE_PER_ACCOUNT):
        attempts.begin(f"10.0.0.{number}", "ada", now)
    for number in range(10):
        attempts.begin(f"10.0.1.{number}", "ada", now)
        waits.append(_refused(attempts, f"10.0.2.{number}", "Ada", now))
        now += waits[-1]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_ACCOUNT


def test_an_address_that_tries_many_accounts_waits_and_a_whole_network_of_ipv6_is_one() -> None:
    attempts = Attempts()
    for number in range(FREE_PER_ADDRESS + 1):
        attempts.begin(f"2001:db8::{number:x}", f"user{number}", 0.0)
    _refused(attempts, "2001:db8::ffff", "another", 0.0)
    attempts.begin("2001:db8:0:1::1", "another", 0.0)


def test_who_gets_it_right_starts_anew_and_the_memory_is_bounded() -> None:
    attempts = Attempts()
    for _ in range(20):
        attempts.begin("10.0.0.1", "ada", 0.0)
        attempts.succeeded("10.0.0.1", "ada")
    for number in range(MOST_REMEMBERED + 100):
        attempts.begin(f"{number}", f"{number}", 0.0)
    assert len(attempts._records) <= MOST_REMEMBERED


def test_who_has_one_account_cannot_buy_tries_at_others_with_it() -> None:
    attempts = Attempts()
    for number in range(FREE_PER_ADDRESS + 1):
        attempts.begin("10.0.0.1", f"user{number}", 0.0)
    now = 1.0
    attempts.begin("10.0.0.1", "own", now)
    attempts.succeeded("10.0.0.1", "own")
    _refused(attempts, "10.0.0.1", "another", now)


def test_who_has_the_password_and_guesses_codes_waits_for_a_quarter_of_an_hour_and_locks_no_password_out() -> None:
    attempts, now, waits = Attempts(), 0.0, []
    for number in range(FREE_PER_ACCOUNT):
        attempts.begin_code(f"10.0.0.{number}", "ada", now)
    for number in range(12):
        attempts.begin_code(f"10.0.1.{number}", "Ada", now)
        with pytest.raises(ProblemError, match="wrong codes") as refused:
            attempts.begin_code(f"10.0.2.{number}", "ada", now)
        waits.append(refused.value.retry_after or 0.0)
        now += waits[-1]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_CODE
    attempts.begin("10.2.0.1", "ada", now - 1)  # somebody with the password gets as far as the second step
    attempts.succeeded("10.2.0.1", "ada")
    attempts.begin_code("10.2.0.1", "ada", now)


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "aaaaaaaaaaaa",
        "password1234",
        "1234567890",
        "ada12345678",
        "x" * 300,
        "p@ssw0rd!!",
        "Passwort2026!",
        "passwordpassword",
        "abcabcabcabc",
        "abcdefghijkl",
        "0987654321",
        "qwertzuiop12",
        "poiuytrewq",
        "1q2w3e4r5t",
        "ada.ada.ada1",
    ],
)
def test_passwords_that_are_tried_first_are_not_taken(password: str) -> None:
    with pytest.raises(ProblemError) as refused:
        check_password(password, "ada")
    assert refused.value.status == 422
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    "password", ["correct horse battery staple", "tr0ub4dor&3x", "my dog eats rice", "h7$kLm2!pQz", "12-34-56-78-90!"]
)
def test_other_passwords_are_taken(password: str) -> None:
    check_password(password, "ada")


def test_a_password_is_kept_as_argon2id_and_nobody_has_one() -> None:
    passwords = Passwords()
    stored = passwords.hash("four words are better")
    assert stored.startswith("$argon2id$")
    assert passwords.matches(stored, "four words are better")
    assert not passwords.matches(stored, "four words are Better")
    assert not passwords.matches(None, "four words are better")
    assert not passwords.matches("no hash at all", "x")
    assert not passwords.outdated(stored)
    longest = "x" * LONGEST
    assert passwords.matches(passwords.hash(longest), longest)
    assert not passwords.matches(passwords.hash(longest), f"{longest}y"), "one that is cut off is another one"


def test_a_code_of_the_app_works_once_and_a_minute_later_not_any_more() -> None:
    secret, now = pyotp.random_base32(), 1_700_000_000.0
    code = pyotp.TOTP(secret).at(int(now))
    step = check_totp(secret, f"{code[:3]} {code[3:]}", None, now)
    assert step == int(now // 30)
    assert check_totp(secret, code, step, now) is None
    assert check_totp(secret, code, None, now + 25) is not None
    assert check_totp(secret, code, None, now + 90) is None
    for wrong in ("", "12345", "abcdef", "\u0661\u0662\u0663\u0664\u0665\u0666", code + "0"):
        assert check_totp(secret, wrong, None, now) is None


def test_the_drawn_code_asks_nobody_and_recovery_codes_differ() -> None:
    offer = make_offer("ada")
    assert offer.secret in offer.uri
    assert offer.svg.startswith("<svg")
    assert "href" not in offer.svg
    assert "style" not in offer.svg
    codes = make_recovery_codes()
    assert len({hash_code(code) for code in codes}) == RECOVERY_CODES
    assert hash_code(f" {codes[0].upper()} ") == hash_code(codes[0])


def test_recovery_codes_are_too_many_to_be_tried_out_on_a_database_that_leaked() -> None:
    signs = {sign for _ in range(50) for code in make_recovery_codes() for sign in code if sign != "-"}
    (length,) = {len(code.replace("-", "")) for code in make_recovery_codes()}
    assert len(signs) ** length > 2**72


def test_an_offered_second_factor_is_over_after_a_while() -> None:
    now = [0.0]
    offers = Offers(lambda: now[0])
    offers.put(1, "secret")
    now[0] += OFFERED_FOR - 1
    assert (offers.get(1), offers.get(2)) == ("secret", None)
    now[0] += 2
    assert offers.get(1) is None
    for user in range(MOST_OFFERS + 50):
        offers.put(user, "secret")
    assert (offers.get(49), offers.get(50)) == (None, "secret")
    offers.drop(50)
    assert offers.get(50) is None


def test_strangers_elsewhere_do_not_make_the_owner_wait_where_that_one_has_logged_in_before() -> None:
    attempts, now = Attempts(), 0.0
    attempts.begin("192.168.0.2", "ada", now)
    attempts.succeeded("192.168.0.2", "ada")
    for number in range(FREE_PER_ACCOUNT + 1):
        attempts.begin(f"10.0.0.{number}", "ada", now)
    _refused(attempts, "10.0.1.1", "ada", now)
    attempts.begin("192.168.0.2", "Ada", now)
    for _ in range(FREE_PER_ACCOUNT):
        attempts.begin("192.168.0.2", "ada", now)  # but is counted there, too
    _refused(attempts, "192.168.0.2", "ada", now)


def _code(caplog: pytest.LogCaptureFixture) -> str:
    arguments = caplog.records[-1].args
    assert isinstance(arguments, tuple)
    return str(arguments[1])


def test_the_code_of_the_first_visit_ends_with_its_time_and_after_wrong_ones(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    first = FirstRun(lambda: now[0])
    with caplog.at_level(logging.WARNING, "event_processor.web"):
        first.begin("http://127.0.0.1:8080")
        code = _code(caplog)
        first.check(code.lower().replace("-", " "))
        for _ in range(TRIES):
            with pytest.raises(ProblemError, match="not the code"):
                first.check("AAAA-AAAA-AAAA")
        with pytest.raises(ProblemError):
            first.check(code)  # it would have been right
        now[0] += AGAIN_AFTER
        first.visited()
        again = _code(caplog)
        assert again != code
        now[0] += VALID_FOR + 1
        with pytest.raises(ProblemError):
            first.check(again)
        first.check(_code(caplog))
        first.done()
        with pytest.raises(ProblemError, match="log in"):
            first.check(_code(caplog))


def test_a_role_includes_those_below_it() -> None:
    assert may("admin", "viewer")
    assert may("operator", "operator")
    assert not may("viewer", "operator")
    assert not may("operator", "admin")
