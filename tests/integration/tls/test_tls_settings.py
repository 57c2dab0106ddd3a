"""The settings of TLS with the broker: what is read from the environment, and what is refused at start."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from services.broker_tls import BrokerTls
from services.domain.errors import ConfigurationError
from services.settings import load, load_observer
from tests.support.certificates import Authority, Certificate

GOOD = {
    "DOORBELL_BROKER_URL": "pyamqp://a:b@mq1/doorbell",
    "DOORBELL_DATABASE_URL": "postgresql://a@db/doorbell",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Certificate:
    return authority.issue("worker")


@pytest.fixture(scope="module")
def whole(authority: Authority, own: Certificate) -> dict[str, str]:
    """Everything that can be set."""
    return GOOD | {
        "DOORBELL_BROKER_CA_FILE": str(authority.file),
        "DOORBELL_BROKER_CERTIFICATE_FILE": str(own.file),
        "DOORBELL_BROKER_KEY_FILE": str(own.key),
        "DOORBELL_BROKER_SERVER_NAME": "broker",
    }


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(environ)
    return str(caught.value).splitlines()


def test_all_of_it(whole: dict[str, str]) -> None:
    """Name and certificate are verified, with nothing older than TLS 1.2."""
    tls = load(whole).broker_tls
    assert tls is not None
    assert tls.options() == {
        "ca_certs": whole["DOORBELL_BROKER_CA_FILE"],
        "certfile": whole["DOORBELL_BROKER_CERTIFICATE_FILE"],
        "keyfile": whole["DOORBELL_BROKER_KEY_FILE"],
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "broker",
        "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
    }


def test_the_least_of_it(authority: Authority) -> None:
    """A CA is enough; the name is then the host's of the address. Without one there is no TLS."""
    ca = {"DOORBELL_BROKER_CA_FILE": str(authority.file)}
    assert load(GOOD | ca).broker_tls == BrokerTls(str(authority.file), "mq1")
    assert load(GOOD).broker_tls is None


def test_a_program_of_others_needs_the_broker_alone(whole: dict[str, str]) -> None:
    """Flower has no database; what else is in its environment is not looked at."""
    only = {name: value for name, value in whole.items() if "DATABASE" not in name}
    found = load_observer(only | {"DOORBELL_STRANGE": "1"})
    url, tls = found.broker_url, found.broker_tls
    assert (url, tls) == (GOOD["DOORBELL_BROKER_URL"], load(whole).broker_tls)


def test_half_of_it_is_refused(whole: dict[str, str]) -> None:
    """Each half names what belongs to it; and no TLS at all is never what half of it leads to."""

    def without(*names: str) -> list[str]:
        return problems({k: v for k, v in whole.items() if k not in names})

    ca, certificate, key, name = (
        f"DOORBELL_BROKER_{part}"
        for part in ("CA_FILE", "CERTIFICATE_FILE", "KEY_FILE", "SERVER_NAME")
    )
    assert without(key) == [f"{key} is not set: it belongs to {certificate}"]
    assert without(certificate) == [f"{certificate} is not set: it belongs to {key}"]
    assert [line.partition(":")[0] for line in without(ca)] == [
        f"{each} is set without {ca}" for each in (name, certificate, key)
    ]
    assert problems(whole | {ca: ""}) == [f"{ca}: is empty: name a value, or do not set it"]
    nameless = whole | {"DOORBELL_BROKER_URL": "pyamqp:///doorbell"}
    del nameless[name]
    assert problems(nameless) == [f"{name} is not set, and no host to verify instead is in the URL"]


def test_files_are_tried_and_all_mistakes_reported_together(
    whole: dict[str, str], tmp_path: Path
) -> None:
    """One line for each file that is missing or no PEM, beside the mistakes in other settings."""
    junk = tmp_path / "junk"
    junk.write_text("no certificate")
    found = problems(
        whole
        | {
            "DOORBELL_BROKER_CA_FILE": str(junk),
            "DOORBELL_BROKER_KEY_FILE": "/no/such/file",
            "DOORBELL_LISTEN_PORT": "x",
        }
    )
    assert found == [
        "DOORBELL_LISTEN_PORT: 'x' is not a port",
        "DOORBELL_BROKER_KEY_FILE: cannot read /no/such/file: No such file or directory",
        f"DOORBELL_BROKER_CA_FILE: {junk} holds no certificate in PEM form",
    ]


def test_a_certificate_and_a_key_that_do_not_fit(
    whole: dict[str, str], authority: Authority, own: Certificate, tmp_path: Path
) -> None:
    """Another's key, and one behind a password, for which a terminal would be asked."""
    other = authority.issue("other")
    found = problems(whole | {"DOORBELL_BROKER_KEY_FILE": str(other.key)})
    assert found == [
        f"DOORBELL_BROKER_KEY_FILE: {other.key} is not the key of the certificate in {own.file}"
    ]
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(own.key), "-out", str(locked), "-aes256"]
    subprocess.run([*command, "-passout", "pass:secret"], check=True, capture_output=True)
    [line] = problems(whole | {"DOORBELL_BROKER_KEY_FILE": str(locked)})
    assert line.endswith("in PEM form and without a password")
