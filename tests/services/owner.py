"""Hold services until told otherwise: a process for the tests to end in every way there is."""

from __future__ import annotations

import os
import sys
import time

from sipup_middleware.services import run_services

if __name__ == "__main__":
    os.setpgrp()
    with run_services(environ={}) as services:
        assert services.database_url
        sys.stdout.write(services.database_url.split("host=")[1].split("&")[0] + "\n")
        sys.stdout.flush()
        time.sleep(60)
