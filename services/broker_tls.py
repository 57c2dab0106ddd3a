"""TLS to the broker: what every connection is opened with, what is wrong with it, and what a failure means."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PREFIX = "DOORBELL_BROKER_"

_ISSUER = (18, 19, 20, 21)
_DATES = {9: "is not valid yet", 10: "has expired"}
_NAMES = (62, 64)
"""What OpenSSL calls the reasons for which it refuses a certificate."""
_CUT = ssl.SSLEOFError | ssl.SSLZeroReturnError
_OF_OURS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")
"""What stands in the alerts by which the other side refuses ours."""


@dataclass(frozen=True, slots=True)
class BrokerTls:
    """Files and name for TLS with the broker.

    Connections read the files when they are opened: a renewed certificate needs no restart.
    """

    ca_file: str
    server_name: str
    certificate_file: str | None = None
    key_file: str | None = None

    def options(self) -> dict[str, Any]:
        """What kombu and py-amqp take as `ssl`."""
        options: dict[str, Any] = {
            "ca_certs": self.ca_file,
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": self.server_name,
            "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
        }
        if self.certificate_file is not None:
            options |= {"certfile": self.certificate_file, "keyfile": self.key_file}
        return options


def certificate_end(socket: ssl.SSLSocket) -> float:
    """When the certificate ends that the other side has shown, in seconds since 1970."""
    until = (socket.getpeercert() or {}).get("notAfter")
    return float(ssl.cert_time_to_seconds(str(until)))


def tls_variables() -> dict[str, str]:
    """The fields by the names of their variables in the environment."""
    return {PREFIX + field.name.upper(): field.name for field in fields(BrokerTls)}


def read_tls(
    environ: Mapping[str, str], broker_host: str | None, problems: list[str]
) -> BrokerTls | None:
    """The environment's TLS; None when nothing is said of it. What is wrong is added to `problems`."""
    given = {field: environ[name] for name, field in tls_variables().items() if name in environ}
    if not given:
        return None
    found = list(_missing(given)) or list(_unusable(given))
    name = given.get("server_name") or broker_host
    if name is None:
        found.append("SERVER_NAME is not set, and no host to verify instead is in the URL")
    problems += [PREFIX + problem for problem in found]
    return None if found else BrokerTls(**{**given, "server_name": str(name)})


def _missing(given: Mapping[str, str]) -> Iterator[str]:
    for field, value in given.items():
        if not value:
            yield f"{field.upper()}: is empty: name a value, or do not set it"
    if "ca_file" not in given:
        for field in given:
            yield (
                f"{field.upper()} is set without {PREFIX}CA_FILE: name the CA that the broker's"
                " certificate is checked against"
            )
    for field, other in (("certificate_file", "key_file"), ("key_file", "certificate_file")):
        if field in given and other not in given:
            yield f"{other.upper()} is not set: it belongs to {PREFIX}{field.upper()}"


def _unusable(given: Mapping[str, str]) -> Iterator[str]:
    """Tried with throw-away contexts, as each connection will."""
    unreadable = set()
    for field in ("ca_file", "certificate_file", "key_file"):
        if field in given and (reason := _cannot_read(given[field])):
            unreadable.add(field)
            yield f"{field.upper()}: cannot read {given[field]}: {reason}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ca_file" not in unreadable:
        try:
            context.load_verify_locations(given["ca_file"])
        except ssl.SSLError:
            yield f"CA_FILE: {given['ca_file']} holds no certificate in PEM form"
    if "certificate_file" in given and not unreadable & {"certificate_file", "key_file"}:
        yield from _unfit_pair(context, given["certificate_file"], given["key_file"])


def _cannot_read(path: str) -> str | None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _unfit_pair(context: ssl.SSLContext, certificate: str, key: str) -> Iterator[str]:
    try:
        # Without this OpenSSL would ask for the password at a terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield f"KEY_FILE: {key} is not the key of the certificate in {certificate}"
        else:
            yield (
                f"CERTIFICATE_FILE: {certificate} and {key} are no certificate and its key,"
                " in PEM form and without a password"
            )


def is_tls(error: BaseException) -> bool:
    """Whether TLS is what failed; a connection that was merely closed is not."""
    return not isinstance(_fault(error), _CUT | None)


def explain(error: BaseException) -> str:
    """What went wrong with a connection to the broker: in our words when it was TLS."""
    fault = _fault(error)
    return _explain_tls(fault) if fault else str(error) or type(error).__name__


def _fault(error: BaseException) -> ssl.SSLError | None:
    each: BaseException | None = error
    while each is not None and not isinstance(each, ssl.SSLError):
        each = each.__cause__ or each.__context__
    return each


def _explain_tls(error: ssl.SSLError) -> str:
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, _CUT):
        return "the connection was closed while TLS began"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_refusal(error)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return f"the broker does not speak TLS on this port, and {PREFIX}CA_FILE is set"
    if "ALERT" in reason and any(word in reason for word in _OF_OURS):
        return (
            f"the broker refuses our certificate ({reason.lower().replace('_', ' ')}):"
            f" it wants {PREFIX}CERTIFICATE_FILE and {PREFIX}KEY_FILE of a CA that it trusts"
        )
    return f"TLS with the broker failed: {error}"


def _explain_refusal(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NAMES:
        return (
            f"the broker's certificate is for another name: {error.verify_message}"
            f" Set {PREFIX}SERVER_NAME to the name that stands in it"
        )
    if error.verify_code in _DATES:
        return f"the broker's certificate {_DATES[error.verify_code]}"
    if error.verify_code in _ISSUER:
        return (
            f"the broker's certificate is not from the CA in {PREFIX}CA_FILE:"
            f" {error.verify_message}"
        )
    return f"the broker's certificate is refused: {error.verify_message}"
