"""Formulas in docstrings, kept as they stand: indented blocks become literal ones.

A docstring that is read in an editor says "the loss is", leaves a line empty and
indents the formula. Sphinx would set that block as running text; two colons stop it.
"""

from typing import Any

from sphinx.application import Sphinx


def literal_blocks(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Put ``::`` before each block that is indented and has an empty line above."""
    for number in range(len(lines) - 1, 1, -1):
        block, empty, above = lines[number], lines[number - 1], lines[number - 2]
        flat = above.strip() and not above.startswith(" ")
        listed = above.startswith(("-", "*", ">>>")) or block.strip().startswith(">>>")
        listed = listed or above.endswith("::")
        if block.startswith("    ") and not empty.strip() and flat and not listed:
            lines[number - 1 : number] = ["", "::", ""]


def whole_sentences(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep napoleon from reading a property's words before a colon as its type."""
    if what == "property":
        lines[:0] = ["..", ""]  # an empty comment, where it looks for the type


def untyped_returns(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep napoleon from reading the words before a colon as what is returned."""
    for number, line in enumerate(lines[:-1]):
        if line.strip() in ("Returns:", "Yields:") and ":" in lines[number + 1]:
            text = lines[number + 1]
            indent = len(text) - len(text.lstrip())
            lines[number + 1] = f"{' ' * indent}: {text.lstrip()}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", literal_blocks, priority=400)
    app.connect("autodoc-process-docstring", whole_sentences, priority=400)
    app.connect("autodoc-process-docstring", untyped_returns, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
