"""Ports, clock, leak check and certificates of the test kit."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

import pylib.testing
from pylib.testing.certificates import Certificate, CertificateAuthority
from pylib.testing.clock import VirtualClock
from pylib.testing.leaks import Snapshot, leaked_since
from pylib.testing.ports import LOOPBACK, answers, free_port, is_free
from pylib.testing.processes import run_program


def test_a_port_is_handed_out_once_and_is_free() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert all(is_free(port) for port in ports[:5])


def test_a_taken_port_is_not_free_and_answers() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        assert not is_free(port)
        assert answers(port)
    assert not answers(port, timeout=0.2)


def test_the_clock_moves_only_when_it_is_told_to(virtual_clock: VirtualClock) -> None:
    wall, steady = virtual_clock.time(), virtual_clock.monotonic()
    assert (virtual_clock.time(), virtual_clock.monotonic()) == (wall, steady)
    virtual_clock.advance(90.5)
    assert (virtual_clock.time() - wall, virtual_clock.monotonic() - steady) == (90.5, 90.5)


def test_a_jump_moves_the_wall_clock_alone(virtual_clock: VirtualClock) -> None:
    wall, steady = virtual_clock.time(), virtual_clock.monotonic()
    virtual_clock.jump(-3600)
    assert (virtual_clock.time() - wall, virtual_clock.monotonic() - steady) == (-3600, 0)
    with pytest.raises(ValueError, match="jump"):
        virtual_clock.advance(-1)


def test_a_waiter_wakes_when_the_clock_reaches_its_time(virtual_clock: VirtualClock) -> None:
    due = virtual_clock.monotonic() + 10
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(virtual_clock.wait_until(due)))
    waiter.start()
    virtual_clock.advance(10)
    waiter.join(5)
    assert results == [True]
    assert not virtual_clock.wait_until(due + 1, timeout=0.01)


def test_a_thread_that_stays_is_named_and_one_that_ends_is_not() -> None:
    before = Snapshot.take()
    release = threading.Event()
    staying = threading.Thread(target=release.wait, name="stays-behind")
    staying.start()
    try:
        assert leaked_since(before, timeout=0.05) == ["thread 'stays-behind' still runs"]
    finally:
        release.set()
    assert leaked_since(before) == []


def test_an_open_descriptor_is_named_until_it_is_closed() -> None:
    before = Snapshot.take()
    with closing(socket.socket()) as left_open:
        assert leaked_since(before, timeout=0.02)[0].startswith(f"descriptor {left_open.fileno()} is open: socket:")
    assert leaked_since(before) == []


LEAKING_TEST = """
import pytest, threading
RELEASE = threading.Event()

@pytest.mark.leak_check
def test_leaks():
    threading.Thread(target=RELEASE.wait, name="left-over", daemon=True).start()

def test_does_not_ask():
    threading.Thread(target=RELEASE.wait, name="nobody-looks", daemon=True).start()
"""


def test_a_marked_test_that_leaves_a_thread_fails_and_an_unmarked_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "test_leaking.py").write_text(LEAKING_TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "pylib.testing.plugin",
        "-p",
        "no:cacheprovider",
        "test_leaking.py",
    ]
    source = Path(pylib.testing.__file__).parents[2]
    with run_program(command, folder=tmp_path, env={"PYTHONPATH": str(source)}) as program:
        assert program.wait(30) == 1
    assert "left-over" in program.output
    assert "nobody-looks" not in program.output
    assert "2 passed, 1 error" in program.output


def handshake(server: Certificate, trusted: Path, *, client: Certificate | None = None, ask: Path | None = None) -> None:
    """One TLS handshake over a socket pair as ``localhost``; raises ssl.SSLError when a side refuses."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(server.certificate, server.key)
    if ask is not None:
        server_side.verify_mode = ssl.CERT_REQUIRED
        server_side.load_verify_locations(ask)
    client_side = ssl.create_default_context(cafile=str(trusted))
    if client is not None:
        client_side.load_cert_chain(client.certificate, client.key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client_side.wrap_bio(incoming, outgoing, server_hostname="localhost"),
        server_side.wrap_bio(outgoing, incoming, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass


def test_a_good_certificate_is_accepted_and_the_bad_ones_are_refused_for_their_own_reason(tmp_path: Path) -> None:
    authority, stranger = CertificateAuthority(tmp_path / "ours"), CertificateAuthority(tmp_path / "theirs")
    handshake(authority.server(), authority.ca)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'localhost'|Hostname mismatch"):
        handshake(authority.wrong_host(), authority.ca)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(authority.expired(), authority.ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(stranger.server(), authority.ca)


def test_a_client_certificate_is_accepted_from_our_authority_alone(tmp_path: Path) -> None:
    authority, stranger = CertificateAuthority(tmp_path / "ours"), CertificateAuthority(tmp_path / "theirs")
    server = authority.server()
    handshake(server, authority.ca, client=authority.client(), ask=authority.ca)
    with pytest.raises(ssl.SSLError):
        handshake(server, authority.ca, client=stranger.client(), ask=authority.ca)
    with pytest.raises(ssl.SSLError):
        handshake(server, authority.ca, ask=authority.ca)
