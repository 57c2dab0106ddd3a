"""A tenant's name is one line of plain text, for it stands in the subject of mails."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli.tenants import create_tenant
from services.domain.errors import Refused

NO_DATABASE: Any = None


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("A\r\nBcc: eve@evil.example", "U+000D"),
        ("two\nlines", "U+000A"),
        ("\x00", "U+0000"),
        ("tab\there", "U+0009"),
        ("a\x85b", "U+0085"),
        ("a\u2028b", "U+2028"),
        ("\u202egnp.exe", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("half \udcff", "U+DCFF"),
    ],
)
def test_a_name_that_is_no_line_of_text_is_refused(name: str, sign: str) -> None:
    """Before anything is asked of the database, with the character that is wrong."""
    with pytest.raises(Refused, match="name must not contain") as caught:
        create_tenant(NO_DATABASE, "shop", name)
    assert sign in str(caught.value)


@pytest.mark.parametrize("name", ["The Shop", "Café Ä & Co. <b>", "دكّان", "商店", "Zoë's 🔔"])
def test_names_of_all_languages_are_taken(name: str) -> None:
    """They get past the checks: the next thing is the database, which is not there."""
    with pytest.raises(AttributeError):
        create_tenant(NO_DATABASE, "shop", name)
