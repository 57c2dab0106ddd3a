"""What a failure of TLS with the broker means, in words of ours."""

from __future__ import annotations

import ssl

from services.broker_tls import explain, is_tls


def test_what_a_failure_means() -> None:
    """Also behind other exceptions; what is not TLS keeps its own words."""
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_code, refused.verify_message = 10, "certificate has expired"
    assert explain(refused) == "the broker's certificate has expired"
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = refused
    assert explain(wrapped) == explain(refused)
    assert is_tls(wrapped)
    assert explain(OSError("no route")) == "no route"
    assert explain(TimeoutError()) == "TimeoutError"
    assert explain(ssl.SSLEOFError(8, "EOF")) == "the connection was closed while TLS began"
    assert not is_tls(ssl.SSLEOFError(8, "EOF"))
