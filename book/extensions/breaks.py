"""Where a line of a page may break: in long names, but not in options and dates.

A browser breaks ``--force-reinstall`` and 2026-11-23 after any hyphen, "-infinity"
after its sign, and ``lmxlab.models.generate`` nowhere, or in the midst of a word.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

# What has its own way with lines, or reads its text itself.
APART = re.compile(
    r'(<(pre|script|style|svg)\b.*?</\2>|<(span|div) class="math.*?</\3>)', re.S
)
TEXT = re.compile(r"(?<=>)[^<>]+(?=<)")
WHOLE = re.compile(r"(?<![\w&-])--?[A-Za-z]\w*(?:-\w+)*|\b\d{4}-\d\d-\d\d\b")
CODE = re.compile(r'(<span class="(?:pre|sig-paren)">)([^<]*)(?=</span>)')
SHORT = 20  # letters that are rather put into the next line than broken
SEAMS = re.compile(r"=(?=[A-Za-z])|[.(\[]+$")  # a type goes on in the next element
JOINTS = re.compile(SEAMS.pattern + r"|(?<=[A-Za-z0-9\])])[._/,(\[=]+(?=[A-Za-z&'\"])")


def with_breaks(html: str) -> str:
    """Return a page with marks where names may break, and where nothing may.

    Args:
        html: The body of a page, or its contents.
    """
    parts = APART.split(html)
    for at in range(0, len(parts), 4):  # what is apart comes with its two groups
        marked = CODE.sub(_jointed, parts[at])
        parts[at] = TEXT.sub(
            lambda text: WHOLE.sub(r'<span class="lmx-whole">\g<0></span>', text[0]),
            marked,
        )
    return "".join(part for at, part in enumerate(parts) if at % 4 < 2)


def _jointed(code: re.Match[str]) -> str:
    where = SEAMS if len(code[2]) <= SHORT else JOINTS
    return code[1] + where.sub(r"\g<0><wbr>", code[2])


def mark_breaks(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Mark them in a page and in the contents beside it."""
    for part in ("body", "toc"):
        if context.get(part):
            context[part] = with_breaks(context[part])


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before the theme takes the contents."""
    app.connect("html-page-context", mark_breaks, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
