"""What ``email.send`` refuses as it is enqueued, and by which name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sipup_middleware import ConfigurationError
from sipup_middleware.jobs.catalog import email

LETTER: dict[str, Any] = {"to": "ada@example.com", "subject": "Order 7", "text": ""}
FILE = {"filename": "a.txt", "content": "YQ==", "media_type": "text/plain"}


@pytest.mark.parametrize(
    "change",
    [
        {"to": "root@localhost"},
        {"to": ["Ada <ada@example.com>", '"Lovelace, Ada" <ada+news@sub.example.com>', "zoë@bücher.example"]},
        {"cc": [], "bcc": [], "attachments": [], "html": None, "sender": None, "reply_to": None},
        {"reply_to": ["a@example.com", "b@example.com"]},
        {"html": "<p>\r\n</p>", "text": "one\ntwo\n"},
        {"attachments": [FILE, FILE | {"content": "", "media_type": "application/vnd.api+json"}]},
        {"bcc": [f"n{number}@example.com" for number in range(99)]},
    ],
)
def test_what_can_be_sent_is_taken(change: dict[str, Any]) -> None:
    email().examine(LETTER | change)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"to": []}, "to: must name a recipient"),
        ({"to": ""}, "to: must be an address"),
        ({"to": None}, "to: must be an address"),
        ({"to": [1]}, "to: must be an address"),
        ({"to": "secret.example.com"}, "to: must be an address"),
        ({"to": "secret@example.com, bob@example.com"}, "to: must be an address"),
        ({"to": "secret@example.com\r\nBcc: bob@example.com"}, "to: must be an address"),
        ({"to": "Ada\u2028 <secret@example.com>"}, "to: must be an address"),
        ({"to": "secret@example.com> SIZE=1"}, "to: must be an address"),
        ({"to": "a..secret@example.com"}, "to: must be an address"),
        ({"to": "secret@-example.com"}, "to: must be an address"),
        ({"to": "secret@example..com"}, "to: must be an address"),
        ({"to": "secret" * 11 + "@example.com"}, "to: must be an address"),
        ({"to": "secret@" + "a.example." * 30 + "com"}, "to: must be an address"),
        ({"to": {"secret@example.com": 1}}, "to: must be an address"),
        ({"cc": ["secret"]}, "cc: must be an address"),
        ({"bcc": "secret"}, "bcc: must be an address"),
        ({"bcc": [f"n{number}@example.com" for number in range(100)]}, "to: there may be 100 recipients"),
        ({"sender": "secret"}, "sender: must be an address"),
        ({"reply_to": "secret"}, "reply_to: must be an address"),
        ({"subject": "secret\nBcc: bob@example.com"}, "subject: must be one line"),
        ({"subject": None}, "subject: must be a string"),
        ({"text": b"secret"}, "text: must be a string"),
        ({"html": 1}, "html: must be a string"),
        ({"attachments": "secret"}, "attachments: must be a list"),
        (
            {"attachments": [FILE, "secret"]},
            "attachments[1]: must be an object of content, filename, media_type",
        ),
        ({"attachments": [FILE | {"path": "/etc/secret"}]}, "attachments[0]: must be an object of"),
        ({"attachments": [FILE | {"content": "secret"}]}, "attachments[0].content: must be base64"),
        ({"attachments": [FILE | {"content": "sécret"}]}, "attachments[0].content: must be base64"),
        ({"attachments": [FILE | {"content": 7}]}, "attachments[0].content: must be"),
        ({"attachments": [FILE | {"filename": ""}]}, "attachments[0].filename: must not be empty"),
        ({"attachments": [FILE | {"filename": "a\r\nsecret"}]}, "attachments[0].filename: must be one line"),
        ({"attachments": [FILE | {"media_type": "secret"}]}, "attachments[0].media_type: must be like"),
        (
            {"attachments": [FILE | {"media_type": "message/rfc822"}]},
            "attachments[0].media_type: must be like",
        ),
        ({"attachments": [FILE | {"media_type": None}]}, "attachments[0].media_type: must be like"),
        ({"headers": {}}, "has no headers"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_field_and_not_shown(
    change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as raised:
        email().examine(LETTER | change)

    assert "secret" not in str(raised.value)
