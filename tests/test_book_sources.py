"""The book's sources name all that the library has (built pages: browser/)."""

from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"


def modules():
    """Return the name of every public module, as it is imported."""
    for path in (ROOT / "lmxlab").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not path.stem.startswith("_"):
            yield ".".join(parts)


def test_the_reference_has_every_module_once():
    pages = "".join(path.read_text("utf-8") for path in (BOOK / "api").glob("*.md"))
    listed = re.findall(r"automodule:: (\S+)", pages)
    assert len(set(listed)) == len(listed)
    packages = {name for name in listed if (ROOT / name.replace(".", "/")).is_dir()}
    assert set(listed) - packages == set(modules()) - packages


def test_headings_of_the_reference_name_their_module():
    for path in (BOOK / "api").glob("*.md"):
        text = path.read_text("utf-8")
        headings = re.findall(r"^## (\S+)$", text, re.MULTILINE)
        listed = re.findall(r"automodule:: lmxlab\.(\S+)", text)
        assert headings == listed


def test_every_page_is_in_the_contents():
    index = (BOOK / "index.md").read_text("utf-8")
    for path in BOOK.rglob("*.md"):
        name = path.relative_to(BOOK).with_suffix("").as_posix()
        assert name == "index" or re.search(rf"^{name}$", index, re.MULTILINE), name


@pytest.mark.parametrize("page", ["install", "troubleshooting"])
def test_readme_is_the_source_of_the_install_text(page):
    text = (BOOK / f"{page}.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    ends = re.findall(r':(?:start-after|end-before): "(.*)"', text)
    assert len(ends) in (2, 4)
    for end in ends:
        assert readme.count(end.replace("\\n", "\n")) == 1, end
    own = text[: text.index("```{include}")] + text[text.rindex("```\n") :]
    assert "make lab" not in own
    assert "pip install" not in own


def test_every_notebook_is_reached_from_troubleshooting_or_recorded_runs():
    pages = (BOOK / "recorded.md").read_text("utf-8")
    pages += (BOOK / "troubleshooting.md").read_text("utf-8")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert path.name in pages
