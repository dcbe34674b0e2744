"""The catalogue as a whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from sipup_middleware.jobs import catalog


def test_the_standard_tasks_have_the_names_they_are_enqueued_by() -> None:
    assert [task.name for task in catalog.STANDARD] == ["email.send", "webhook.deliver"]


def test_what_a_factory_does_not_ask_for_is_changed_on_the_value() -> None:
    patient = replace(catalog.webhook(), retries=8, backoff=(60, 2.0, 3600))

    patient.examine({"url": "https://hooks.example", "event": {}})
    assert (patient.name, patient.retries) == ("webhook.deliver", 8)


def test_whoever_only_enqueues_loads_neither_library() -> None:
    script = (
        "import sys; import sipup_middleware.jobs.catalog; print({'httpx', 'aiosmtplib'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
