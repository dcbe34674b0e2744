"""Standard Webhooks 1.0.0, as its own library checks it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from sipup_middleware.jobs.catalog import sign
from tests.jobs.catalog.endpoint import SECRET


def test_the_standards_example_is_signed_as_it_says() -> None:
    """https://github.com/standard-webhooks/standard-webhooks, its libraries' test vector."""
    signature = sign(
        SECRET, id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}'
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_"), "whsec_c2VjcmV0IG9mIG91cnM"])
def test_the_prefix_and_the_padding_may_be_missing(secret: str) -> None:
    signature = sign(secret, id="a", timestamp=1_700_000_000, body="ü".encode())

    assert signature == Webhook(secret).sign("a", datetime.fromtimestamp(1_700_000_000, UTC), "ü")


@pytest.mark.parametrize("secret", ["", "whsec_", "hunter2!", "whsec_hünter2"])
def test_what_is_no_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^secret: must be whsec_ and base64$"):
        sign(secret, id="a", timestamp=0, body=b"")
