"""Templates: nothing in them needs a policy that allows inline scripts or styles."""

import re

import pytest

from support.paths import TOP

TEMPLATES = sorted((TOP / "web/templates").glob("*.html"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_inline_script_or_style(path: object) -> None:
    text = path.read_text()  # type: ignore[attr-defined]
    assert not re.search(r'<style|\sstyle=|\son[a-z]+="|javascript:', text)
    for tag in re.findall(r"<script[^>]*>", text):
        assert 'type="application/json"' in tag or "src=" in tag


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_turns_no_escaping_off(path: object) -> None:
    assert not re.search(r"\|\s*safe|autoescape", path.read_text())  # type: ignore[attr-defined]
