"""Addresses, secrets that do not show, and TLS."""

from __future__ import annotations

import copy
import pickle
import ssl
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from pylib.brokers.addresses import Address, Secret, TlsOptions, parse_addresses
from pylib.errors import ConfigError
from pylib.testing.certificates import CertificateAuthority

CANARY = "c4n4ry"


def one(text: str, scheme: str = "amqp") -> Address:
    (address,) = parse_addresses(text, scheme="amqp" if scheme == "amqp" else "mqtt")
    return address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("broker", Address("amqp", "broker", 5672)),
        ("broker:1", Address("amqp", "broker", 1)),
        ("[::1]:5673", Address("amqp", "::1", 5673)),
        ("[::1]", Address("amqp", "::1", 5672)),
        ("::1", Address("amqp", "::1", 5672)),
        ("10.0.0.1:5", Address("amqp", "10.0.0.1", 5)),
        ("amqp://broker", Address("amqp", "broker", 5672)),
        ("AMQPS://broker", Address("amqp", "broker", 5671, tls=True)),
        ("amqp://broker/", Address("amqp", "broker", 5672, vhost="/")),
        ("amqp://broker/%2F", Address("amqp", "broker", 5672, vhost="/")),
        ("amqp://broker/house", Address("amqp", "broker", 5672, vhost="house")),
        ("amqp://me@broker", Address("amqp", "broker", 5672, "me")),
        ("amqp://me:@broker", Address("amqp", "broker", 5672, "me", Secret(""))),
        ("amqp://me:pw@[::1]:7/v", Address("amqp", "::1", 7, "me", Secret("pw"), "v")),
        ("amqp://me:p%40w@b", Address("amqp", "b", 5672, "me", Secret("p@w"))),
        ("amqp://me:100%@b", Address("amqp", "b", 5672, "me", Secret("100%"))),
        ("amqp://me:50%off%2Fx@b", Address("amqp", "b", 5672, "me", Secret("50%off/x"))),
        ("amqp://me:%ff@b", Address("amqp", "b", 5672, "me", Secret("%ff"))),
        ("amqp://me:a@b:c/d#e?f@host:9/v", Address("amqp", "host", 9, "me", Secret("a@b:c/d#e?f"), "v")),
        ("amqp://me:a,b@host", Address("amqp", "host", 5672, "me", Secret("a,b"))),
    ],
)
def test_an_amqp_address_is_understood(text: str, expected: Address) -> None:
    assert one(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("broker", Address("mqtt", "broker", 1883)),
        ("mqtts://me:pw@broker", Address("mqtt", "broker", 8883, "me", Secret("pw"), tls=True)),
        ("mqtt://broker:1/", Address("mqtt", "broker", 1)),
    ],
)
def test_an_mqtt_address_is_understood(text: str, expected: Address) -> None:
    assert one(text, "mqtt") == expected


def test_several_are_tried_in_their_order() -> None:
    expected = ["amqp://a:5672", "amqp://b:1", "amqps://u@c:5671", "amqp://d:5672"]
    assert [str(a) for a in parse_addresses("a, b:1  amqps://u:p@c\n d", scheme="amqp")] == expected
    assert [str(a) for a in parse_addresses(["a", "b:1, amqps://u:p@c", Address("amqp", "d", 5672)], scheme="amqp")] == (
        expected
    )


def test_a_mapping_is_understood() -> None:
    (address,) = parse_addresses({"host": "h", "port": 7, "user": "u", "password": CANARY, "tls": True}, scheme="mqtt")
    assert address == Address("mqtt", "h", 7, "u", Secret(CANARY), tls=True)


def test_defaults_fill_what_an_address_leaves_out() -> None:
    a, b, c, d = parse_addresses(
        "a amqp://me:pw@b amqp://me@c amqp://guest@d",
        scheme="amqp",
        default_user="guest",
        default_password="guest",
        default_vhost="v",
        tls=True,
    )
    assert a == Address("amqp", "a", 5671, "guest", Secret("guest"), "v", tls=True)
    assert b == Address("amqp", "b", 5672, "me", Secret("pw"), "v")
    assert c.password is None, "a default password is not sent along with another user's name"
    assert d.password == Secret("guest")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no address"),
        (" , ", "there is no address"),
        ("http://broker", "'http' is not understood here; write amqp:// or amqps://"),
        ("broker:x", "the port is not a number from 1 to 65535"),
        ("broker:0", "the port is not a number"),
        ("broker:65536", "the port is not a number"),
        ("broker:", "the port is not a number"),
        ("amqp://", "the host name is missing"),
        ("amqp://me:pw@", "the host name is missing"),
        ("amqp://bro ker$", "address 2 of 2: the host name has a character"),
        ("[::1", "an IPv6 address with a port is written"),
        ("[nonsense]:1", "not an IPv6 address"),
        ("amqp://broker?heartbeat=3", "what follows ?"),
        ("me:pw@broker", "needs the form amqp://user:password@host:port"),
    ],
)
def test_a_wrong_address_is_explained(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_addresses(text, scheme="amqp", where="app.conf: [rabbitmq] server_address")
    assert str(caught.value).startswith("app.conf: [rabbitmq] server_address")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"amqp://me:{CANARY}",
        f"me:{CANARY}@host",
        f"amqp://me:{CANARY}@host:port",
        f"amqp://me:{CANARY} x@host",
        f"http://me:{CANARY}@host",
        f"amqp://me:pw@{CANARY}$@",
        f"mqtt://me:{CANARY}@host/path",
    ],
)
@pytest.mark.parametrize("scheme", ["amqp", "mqtt"])
def test_an_error_never_repeats_a_password(text: str, scheme: str) -> None:
    try:
        said = repr(parse_addresses(text, scheme="amqp" if scheme == "amqp" else "mqtt"))
    except ConfigError as error:
        said = "".join(traceback.format_exception(error)[-1:]) + repr(error.__cause__)
    assert CANARY not in said


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1).filter(lambda s: "%" not in s))
def test_any_password_without_white_space_is_taken_as_it_stands(password: str) -> None:
    assert one(f"amqp://me:{password}@host/v") == Address("amqp", "host", 5672, "me", Secret(password), "v")


@given(st.text())
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        addresses = parse_addresses(text, scheme="mqtt")
    except ConfigError:
        return
    assert all(0 < address.port < 65536 and address.host for address in addresses)


def test_a_secret_does_not_show() -> None:
    secret = Secret(CANARY)
    address = Address("amqp", "h", 1, "u", secret)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>9}", repr(address), str(address)):
        assert CANARY not in shown
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert secret != Secret("x")
    assert len({secret, Secret(CANARY)}) == 1
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(AttributeError):
        secret._value = "x"
    assert copy.deepcopy(address) == address


def test_an_address_reads_back() -> None:
    for text in ("amqps://me@[::1]:7/a%2Fb", "mqtt://broker:1883", "amqp://a%40b@c:5672"):
        assert str(one(text, text[:4])) == text


def test_tls_checks_chain_name_and_version_by_default(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    context = TlsOptions(ca_file=authority.ca).context()
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1
    unchecked = TlsOptions(verify=False).context()
    assert (unchecked.check_hostname, unchecked.verify_mode) == (False, ssl.CERT_NONE)
    assert TlsOptions(ca_file=authority.ca, check_hostname=False).context().verify_mode == ssl.CERT_REQUIRED


def _key(tmp_path: Path, source: Path, password: bytes) -> Path:
    key = serialization.load_pem_private_key(source.read_bytes(), None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        )
    )
    return encrypted


def test_tls_files_that_do_not_work_are_named(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    mine, other = authority.client("mine"), authority.client("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    locked = _key(tmp_path, mine.key, CANARY.encode())
    cases = [
        (TlsOptions(ca_file=tmp_path / "absent.pem"), "CA file .*absent.pem does not exist"),
        (TlsOptions(ca_file=tmp_path), "CA file .* cannot be read"),
        (TlsOptions(ca_file=text), "CA file .*text.pem holds no certificate"),
        (TlsOptions(key_file=mine.key), "there is a key file but no certificate file"),
        (TlsOptions(cert_file=mine.certificate, key_file=tmp_path / "k"), "key file .*k does not exist"),
        (TlsOptions(cert_file=text, key_file=mine.key), "are not both in PEM format"),
        (TlsOptions(cert_file=mine.certificate, key_file=other.key), "does not belong to certificate file"),
        (TlsOptions(cert_file=mine.certificate, key_file=locked), "the key password does not open it"),
        (
            TlsOptions(cert_file=mine.certificate, key_file=locked, key_password=Secret("wrong")),
            "the key password does not open it",
        ),
    ]
    for options, said in cases:
        with pytest.raises(ConfigError, match=said) as caught:
            options.context()
        assert str(caught.value).startswith("TLS: ")
    TlsOptions(cert_file=mine.certificate, key_file=locked, key_password=Secret(CANARY)).context()
    assert CANARY not in repr(TlsOptions(key_password=Secret(CANARY)))
