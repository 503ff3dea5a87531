"""A private certificate authority with good and deliberately bad certificates, written into a folder.

Needs the package ``cryptography``, which the library itself does not.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pylib.testing.private import ServerTls

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The two files of one party."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """Signs certificates into ``folder``; ``ca`` is the file that a client is told to trust.

    Two authorities have different keys and the same name, so that a test can show that a certificate is refused for its
    signature and not for a name. One thread at a time.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("pylib test authority")
        now = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            # The expired certificates below must lie within their authority's own life.
            .not_valid_before(now - 30 * _DAY)
            .not_valid_after(now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self) -> Certificate:
        """A good certificate for ``localhost`` and ``127.0.0.1``."""
        return self._issue("server", hosts=["localhost"], addresses=["127.0.0.1"])

    def wrong_host(self) -> Certificate:
        """A server certificate that is good for another host alone."""
        return self._issue("wrong-host", hosts=["elsewhere.example"], addresses=[])

    def expired(self) -> Certificate:
        """A server certificate for ``localhost`` that ended yesterday."""
        return self._issue("expired", hosts=["localhost"], addresses=["127.0.0.1"], starts=-9 * _DAY, ends=-1 * _DAY)

    def client(self, name: str = "client") -> Certificate:
        """A client certificate with ``name`` as its common name."""
        return self._issue(name, hosts=[], addresses=[], client=True)

    def server_tls(self, certificate: Certificate | None = None, *, require_certificate: bool = False) -> ServerTls:
        """What a private broker takes as ``tls=``: ``certificate``, or a good one, and this authority for clients."""
        files = certificate or self.server()
        return ServerTls(self.ca, files.certificate, files.key, require_certificate)

    def _issue(
        self,
        name: str,
        *,
        hosts: list[str],
        addresses: list[str],
        starts: timedelta = -1 * _DAY,
        ends: timedelta = 29 * _DAY,
        client: bool = False,
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        files = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        files.key.chmod(0o600)
        return files


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
