"""The documentation is run, and it is complete."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import sipup_middleware
from sipup_middleware import Settings
from tests.asgi import hello

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
DESCRIBED = [
    value
    for name in sipup_middleware.__all__
    if dataclasses.is_dataclass(value := getattr(sipup_middleware, name)) and value is not Settings
]
EXAMPLES = [
    pytest.param(example, id=f"{page.name}-{number}")
    for page in PAGES
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), 1)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example: str) -> None:
    names: dict[str, object] = {"app": hello}

    exec(compile(example, "example", "exec"), names)

    assert callable(names["app"])


@pytest.mark.parametrize("layer", DESCRIBED, ids=lambda layer: layer.__name__)
def test_every_option_has_a_row(layer: Any) -> None:
    sections = [
        section
        for page in PAGES
        for title, section in re.findall(
            r"^### (.+?)\n(.*?)(?=^##|\Z)", page.read_text(), re.DOTALL | re.MULTILINE
        )
        if title.strip(" `") == layer.__name__
    ]

    assert len(sections) == 1, f"one '### {layer.__name__}' in README.md or docs/"
    assert re.findall(r"^\| `(\w+)`", sections[0], re.MULTILINE) == [
        field.name for field in dataclasses.fields(layer) if field.init
    ]


def test_every_setting_has_a_row() -> None:
    rows = {row for page in PAGES for row in re.findall(r"^\| `SIPUP_(\w+)`", page.read_text(), re.MULTILINE)}

    assert {field.name.upper() for field in dataclasses.fields(Settings)} - rows == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
