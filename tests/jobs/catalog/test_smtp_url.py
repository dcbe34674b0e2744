"""Which server a URL means, and what is none."""

from __future__ import annotations

import pytest

from sipup_middleware.jobs.catalog.smtp_url import Server


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", Server(host="mail.example")),
        ("smtp://mail.example:2525/", Server(host="mail.example", port=2525)),
        ("smtp://[::1]:25", Server(host="::1", port=25)),
        (
            "smtp://a%40b:p%3Aw@mail.example",
            Server(host="mail.example", user="a@b", password="p:w", starttls=True),
        ),
        ("smtp://a:b@mail.example?starttls=auto", Server(host="mail.example", user="a", password="b")),
        ("smtp://mail.example?starttls=always", Server(host="mail.example", starttls=True)),
        ("SMTP://mail.example/?starttls=never", Server(host="mail.example", starttls=False)),
        ("smtps://mail.example", Server(host="mail.example", tls=True, starttls=False)),
        (
            "smtps://a:b@mail.example:465",
            Server(host="mail.example", port=465, user="a", password="b", tls=True, starttls=False),
        ),
    ],
)
def test_a_url_says_where_and_how(url: str, server: Server) -> None:
    assert Server.read("here", url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example",
        "http://mail.example",
        "smtp://",
        "smtp://mail.example:",
        "smtp://mail.example:0",
        "smtp://mail.example:65536",
        "smtp://mail.example/inbox",
        "smtp://hunter2@mail.example",
        "smtp://app:hunter2/@mail.example",
        "smtp://app:hunter2@mail.example@mail.example",
        "smtp://app:hunter2@mail.example?starttls=maybe",
        "smtp://app:hunter2@mail.example?verify=no",
        "smtps://app:hunter2@mail.example?starttls=auto",
        "smtp://mail.example\r\nRSET",
    ],
)
def test_what_is_no_such_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^here: must ") as raised:
        Server.read("here", url)

    assert "hunter2" not in str(raised.value)


def test_the_password_is_not_printed() -> None:
    assert "hunter2" not in repr(Server.read("here", "smtp://app:hunter2@mail.example"))
