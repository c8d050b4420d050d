"""Pictures of notebooks with the words that their cells gave them.

``picture(figure, alt)`` puts its words into the output's metadata, as Jupyter does;
myst-nb reads only width and height from there, and a page would name the file instead.
"""

from typing import Any

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from sphinx.application import Sphinx

render_image = NbElementRenderer.render_image


def with_words(renderer: NbElementRenderer, data: MimeData) -> list[nodes.Element]:
    """Render an image of an output, with its own alternative text."""
    rendered: list[nodes.Element] = render_image(renderer, data)
    about: dict[str, Any] = data.output_metadata.get(data.mime_type, {})
    for image in rendered:
        if about.get("alt"):
            image["alt"] = str(about["alt"])
    return rendered


def setup(app: Sphinx) -> dict[str, bool]:
    """Take the place of myst-nb's own renderer of images."""
    NbElementRenderer.render_image = with_words
    return {"parallel_read_safe": True, "parallel_write_safe": True}
