"""Signatures as the source writes them: short types, and what a class is made with.

Python resolves ``NDArray[np.int32]`` and ``ArrayLike`` to what they stand for, which is
a line and three lines long. Sphinx shows the arguments of every class or of none, and
names each base.
"""

import inspect
import re
import sys
from typing import Any

from docutils import nodes
from numpy.typing import ArrayLike
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.ext.viewcode import viewcode_anchor
from sphinx.util.typing import restify, stringify_annotation

LINE = 88  # columns of a signature; a longer one has a line for each argument
PATH = re.compile(r"~(?:\w+\.)+(?=\w)")
# As a signature has it, and as a base.
NDARRAY = re.compile(
    r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[(~?[\w.]+)\]\]"
)
NDARRAY_ROLE = re.compile(
    r":py:class:`~numpy\.ndarray`\\ \[:py:class:`tuple`\\ "
    r"\[:py:obj:`~typing\.Any`, \.\.\.\], "
    r":py:class:`~numpy\.dtype`\\ \[(:py:\w+:`[^`]*`)\]\]"
)
# In a union with str, that member stands at its beginning.
WHOLE = stringify_annotation(ArrayLike, "smart")
WITHOUT_STR = WHOLE.replace("bytes | str | ", "bytes | ", 1)
# A default that the source gives by a name, whose value says more.
CONSTANT = re.compile(r"(?<== )(?:[A-Z][A-Z_]+(?:\[\d+\])?|tuple\([A-Z_]+\))(?=[,)])")


def shortened(text: str) -> str:
    """Return a signature with the aliases' names in it.

    Args:
        text: As Sphinx writes it, where ``~`` hides a name's path.
    """
    text = NDARRAY.sub(r"~numpy.typing.NDArray[\1]", text)
    for whole in (WHOLE, WITHOUT_STR):
        text = text.replace(whole, "~numpy.typing.ArrayLike")
    return text


def valued(text: str, names: dict[str, Any]) -> str:
    """Return a signature with the values of constants in place of their names.

    Args:
        text: The signature, its defaults as the source has them.
        names: What the module defines.
    """

    def value(found: re.Match[str]) -> str:
        said = repr(eval(found[0], names.copy()))
        return found[0] if said.startswith("<") else said

    return CONSTANT.sub(value, text)


def bases_of(cls: type) -> list[str]:
    """Return what a class adds to, in reStructuredText; not what says nothing.

    Args:
        cls: Any class. Left out are ``object`` and classes without a page.
    """
    bases = vars(cls).get("__orig_bases__", cls.__bases__)
    kept = [base for base in bases if base is not object]
    kept = [base for base in kept if not getattr(base, "__name__", "").startswith("_")]
    array = r":py:class:`~numpy.typing.NDArray`\\ [\1]"
    return [NDARRAY_ROLE.sub(array, restify(base, "smart")) for base in kept]


def tell_bases(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Begin the description of a class with its bases."""
    if inspect.isclass(obj) and (bases := bases_of(obj)):
        lines[:0] = [f"Bases: {', '.join(bases)}", ""]


def choose(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Show what a class is made with in one place; constants with their values."""
    if not signature:
        return None
    if inspect.isclass(obj) and (made_elsewhere(obj) or signature.startswith("(*args")):
        return "", ""  # of a protocol, for one, Python knows no arguments
    signature = signature.replace("= <factory>", "= ...")  # which cannot be parsed
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    return valued(signature, vars(module) if module else {}), returns


def made_elsewhere(cls: type) -> bool:
    """Whether a table or a documented ``__init__`` shows a class's arguments."""
    fields = getattr(cls, "__dataclass_fields__", {}).values()
    init = vars(cls).get("__init__")
    return any("help" in field.metadata for field in fields) or bool(
        init and init.__doc__
    )


def skip_tuples(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out fields of a named tuple that only Python itself has described."""
    return True if str(obj.__doc__).startswith("Alias for field number") else None


def link_sources(app: Sphinx, doctree: nodes.document) -> None:
    """Give each overload the link to the source, which Sphinx gives to the first."""
    for described in doctree.findall(addnodes.desc):
        first, *overloads = (
            node for node in described if isinstance(node, addnodes.desc_signature)
        )
        for link in list(first.findall(viewcode_anchor)):
            for overload in overloads:
                overload += link.deepcopy()


class Short:
    """Mixed into the directives of the Python domain: short types, whole lines."""

    def handle_signature(self, sig: str, signode: Any) -> Any:
        """Shorten the types, then see whether what is left fits into a line."""
        sig = shortened(sig)
        if "type" in self.options:
            self.options["type"] = shortened(self.options["type"])
        if len(PATH.sub("", sig)) <= LINE:
            self.options["single-line-parameter-list"] = None
        return super().handle_signature(sig, signode)


def setup(app: Sphinx) -> dict[str, bool]:
    """Take the place of the Python domain's directives, which overloads pass too."""
    for name, directive in PythonDomain.directives.items():
        if hasattr(directive, "handle_signature"):
            short = type(directive.__name__, (Short, directive), {})
            app.add_directive_to_domain("py", name, short, override=True)
    app.connect("autodoc-process-signature", choose)
    app.connect("autodoc-process-docstring", tell_bases, priority=700)
    app.connect("autodoc-skip-member", skip_tuples)
    app.connect("doctree-read", link_sources, priority=900)  # after viewcode
    return {"parallel_read_safe": True, "parallel_write_safe": True}
