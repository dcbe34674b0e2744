"""Whom the servers run as: PostgreSQL refuses root, so root becomes ``nobody``."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sipup_middleware.errors import ConfigurationError

__all__ = ("Account",)


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    uid: int
    gid: int
    dropped: bool
    """Whether it stands in for root; else it is ourselves."""

    @classmethod
    def current(cls) -> Account:
        """Return ourselves, or ``nobody`` in place of root; `ConfigurationError` where there is none."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), dropped=False)
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise ConfigurationError(
                "servers are not run as root, and this machine has no user 'nobody': run as another user, "
                "or set SIPUP_DATABASE_URL and SIPUP_REDIS_URL"
            ) from None
        return cls(nobody.pw_uid, nobody.pw_gid, dropped=True)

    def version(self, binary: Path) -> str | None:
        """Return what ``binary --version`` prints, or None where this user cannot run it."""
        try:
            done = subprocess.run(  # noqa: S603 (a server that we found)
                [binary, "--version"],
                check=True,
                capture_output=True,
                text=True,
                cwd="/",
                env={"PATH": os.defpath},
                user=self.uid if self.dropped else None,
                group=self.gid if self.dropped else None,
                extra_groups=[] if self.dropped else None,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    def may_enter(self, directory: Path) -> bool:
        """Return whether this user can reach what is below *directory*."""
        ways = (directory, *directory.parents)
        return not self.dropped or all(way.stat().st_mode & stat.S_IXOTH for way in ways)

    def take(self, tree: Path) -> None:
        """Give this user *tree* and all that is below it."""
        for path in (tree, *tree.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
