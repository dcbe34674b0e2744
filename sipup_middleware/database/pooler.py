"""What cannot be had behind a transaction pooler (PgBouncer in that mode): a session.

Each transaction runs on whatever server connection is free, so what is set for a session is lost, or found by
another client. It is refused while it is still ours to refuse.
"""

from __future__ import annotations

import re

from sipup_middleware.errors import ConfigurationError

__all__ = ("refuse_session_state",)

_OF_A_SESSION = re.compile(
    r"(?:^|;)\s*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b|listen\b|unlisten\b|load\b|discard\b"
    r"|deallocate\b|prepare\s+(?!transaction\b)|create\s+temp(?:orary)?\s(?!.*\bon\s+commit\s+drop\b))"
    r"|\bpg_(?:try_)?advisory_(?:un)?lock|\bset_config\s*\([^()]*,\s*false\s*\)",
    re.IGNORECASE | re.DOTALL,
)


def refuse_session_state(sql: str) -> None:
    """Raise `ConfigurationError` where *sql* would change a session that is another client's next."""
    if _OF_A_SESSION.search(sql):
        raise ConfigurationError(
            "this statement changes its session, which Database(pooler='transaction') shares with others:"
            " in db.transaction() use SET LOCAL, set_config(…, true), pg_advisory_xact_lock, ON COMMIT DROP"
        )
