"""What the book adds to Sphinx: short signatures, settings tables, line breaks."""

from dataclasses import dataclass
import importlib.util
import math
from pathlib import Path
from typing import Any, NamedTuple

from lmxlab.core.config import ModelConfig
from lmxlab.core.fields import setting
import numpy as np
from numpy.typing import ArrayLike, NDArray
import pytest

EXTENSIONS = Path(__file__).parents[1] / "book" / "extensions"
pytest.importorskip("sphinx", reason="comes with the extra 'book'")


def extension(name):
    spec = importlib.util.spec_from_file_location(f"{name}_", EXTENSIONS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


breaks, settings, signatures = map(extension, ("breaks", "settings", "signatures"))


@pytest.mark.parametrize(
    ("annotation", "short"),
    [
        (NDArray[np.int32], "~numpy.typing.NDArray[~numpy.int32]"),
        (NDArray[Any] | None, "~numpy.typing.NDArray[~typing.Any] | None"),
        (ArrayLike, "~numpy.typing.ArrayLike"),
        (str | ArrayLike, "str | ~numpy.typing.ArrayLike"),
        (dict[str, int], "dict[str, int]"),
    ],
)
def test_types_have_the_names_of_the_source(annotation, short):
    whole = signatures.stringify_annotation(annotation, "smart")
    assert signatures.shortened(whole) == short


def test_a_constant_is_shown_as_its_value():
    text = (
        "(a: str = UNIT, b: int = SIZES[0], c: Any = tuple(ALL), d: Any = mx.float32)"
    )
    names = {"UNIT": "nats", "SIZES": (3, 4), "ALL": {"x": 1}}
    shown = "(a: str = 'nats', b: int = 3, c: Any = ('x',), d: Any = mx.float32)"
    assert signatures.valued(text, names) == shown
    assert signatures.valued("(a = MARK)", {"MARK": object()}) == "(a = MARK)"


class Documented:
    def __init__(self):
        """Say what it is made with."""


class Plain(Documented):
    def __init__(self):
        pass


class _Hidden:
    pass


class Arrays(list[NDArray[Any]], _Hidden):
    pass


class Pair(NamedTuple):
    left: int


def test_arguments_of_a_class_are_shown_once():
    shown = [Documented, Plain, Pair, ModelConfig]
    assert [signatures.made_elsewhere(cls) for cls in shown] == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("cls", "signature", "shown"),
    [
        (Plain, "(a: int)", "(a: int)"),
        (Plain, "(a: dict = <factory>)", "(a: dict = ...)"),
        (Plain, "(*args, **kwargs)", ""),
        (Documented, "(a: int)", ""),
    ],
)
def test_a_class_shows_arguments_that_say_something(cls, signature, shown):
    assert signatures.choose(None, "class", "", cls, None, signature, "")[0] == shown


def test_bases_are_those_that_say_something():
    assert signatures.bases_of(Documented) == []
    assert signatures.bases_of(Pair) == [":py:class:`~typing.NamedTuple`"]
    (base,) = signatures.bases_of(Arrays)
    assert "NDArray" in base
    assert "dtype" not in base


def test_only_fields_that_python_described_are_left_out():
    def skip(obj):
        return signatures.skip_tuples(None, "class", "left", obj, False, None)

    assert skip(Pair.left) is True
    assert skip(Documented) is None


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [
        ((1, 65536), "[1, 2¹⁶]"),
        ((0, 2**31 - 1), "[0, 2³¹ − 1]"),
        ((1, 1024), "[1, 1024]"),
        ((1, 100_000), "[1, 100,000]"),
        ((1e-12, 0.1), "[10⁻¹², 0.1]"),
        ((-1.5, 2.5e9), "[−1.5, 2.5 × 10⁹]"),
        ((0.0, math.inf), "[0, ∞)"),
        ((-math.inf, math.inf), "(−∞, ∞)"),
    ],
)
def test_bounds_are_written_as_in_a_book(bounds, shown):
    # No line may break between them.
    said = settings.interval(*bounds)
    assert said.replace("\N{NO-BREAK SPACE}", " ") == shown
    assert " " not in said.replace(" × ", "")


def test_a_bound_that_is_itself_illegal_has_a_round_bracket():
    assert settings.interval(0, 1, open_below=True)[0] == "("


@dataclass(frozen=True)
class Oven:
    heat: float = setting(180.0, "In C.", bounds=(30, 300), live=True)
    kind: str = setting("gas", "Fuel.", choices=("gas", "wood"))
    unexplained: int = 0


def test_a_settings_table_has_a_row_for_each_explained_field():
    text = "\n".join(settings.table_of(Oven))
    assert text.count("* -") == 3
    assert "unexplained" not in text
    assert "In C. Acts on a running model." in text
    assert "``'gas'``, ``'wood'``" in text
    assert settings.table_of(Documented) == []


def test_the_default_of_a_nested_configuration_is_a_link():
    text = "\n".join(settings.table_of(ModelConfig))
    assert ":class:`BlockConfig() <lmxlab.core.config.BlockConfig>`" in text
    assert "attention=" not in text


def pre(text):
    return f'<code><span class="pre">{text}</span></code>'


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("lmxlab.models.generate.", "lmxlab.|models.|generate.|"),
        ("LanguageModel.count_parameters()", "LanguageModel.|count_|parameters()"),
        ("Controls.__call__().__init__", "Controls.__|call__().__|init__"),
        ("mx.compile", "mx.compile"),
        ("EXTRAS=cuda13", "EXTRAS=|cuda13"),
        ("10_000_000.000_000_000", "10_000_000.000_000_000"),
    ],
)
def test_long_names_break_between_their_parts(name, marked):
    assert breaks.with_breaks(pre(name)) == pre(marked.replace("|", "<wbr>"))


@pytest.mark.parametrize("word", ["--force-reinstall", "-infinity", "2026-11-23"])
def test_options_and_dates_do_not_break(word):
    whole = f'<p>by <span class="lmx-whole">{word}</span>.</p>'
    assert breaks.with_breaks(f"<p>by {word}.</p>") == whole


@pytest.mark.parametrize(
    "html",
    [
        '<span class="math notranslate">\\(a = -x\\)</span>',
        "<pre>rm <span>-r</span> 2026-11-23</pre>",
        '<a href="2026-11-23">multi-token, x -1</a>',
    ],
)
def test_formulas_code_and_addresses_stay_as_they_are(html):
    assert breaks.with_breaks(f"<p>{html}</p>") == f"<p>{html}</p>"
