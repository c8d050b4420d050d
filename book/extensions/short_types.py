"""NumPy's aliases in signatures, under the names that the source uses.

Python resolves ``NDArray[np.int32]`` and ``ArrayLike`` to what they stand for, which is
a line and three lines long.
"""

import re
from typing import Any

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

NDARRAY = re.compile(
    r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[(~?[\w.]+)\]\]"
)
# In a union with str, that member stands at its beginning.
WHOLE = stringify_annotation(ArrayLike, "smart")
WITHOUT_STR = WHOLE.replace("bytes | str | ", "bytes | ", 1)


def shortened(text: str) -> str:
    """Return a signature with the aliases' names in it.

    Args:
        text: As Sphinx writes it, where ``~`` hides a name's path.
    """
    text = NDARRAY.sub(r"~numpy.typing.NDArray[\1]", text)
    for whole in (WHOLE, WITHOUT_STR):
        text = text.replace(whole, "~numpy.typing.ArrayLike")
    return text


def shorten(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Shorten the types of arguments and of what is returned."""
    return signature and shortened(signature), returns and shortened(returns)


def setup(app: Sphinx) -> dict[str, bool]:
    """Shorten each signature when it is made."""
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
