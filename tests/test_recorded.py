"""The book's recorded figures: each has a topic, and its words are its numbers."""

import importlib.util
import json
import math
from pathlib import Path
import re
import sys
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
NAMES = sorted(
    path.stem
    for path in (BOOK / "topics").glob("*.py")
    if not path.stem.startswith("_")
)
RECORDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((BOOK / "recorded").glob("*.json"))
    if not path.stem.startswith("bench")  # those are of the page on performance
}
each = pytest.mark.parametrize("name", RECORDS)


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The command book/record.py, as a module, that writes into a scratch folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BOOK))
        patch.setitem(sys.modules, "record", None)  # removed again with the patch
        module = load(BOOK / "record.py", "record")
        module.HERE = tmp_path_factory.mktemp("book")
        (module.HERE / "recorded").mkdir()
        yield module
        for name in [n for n in sys.modules if n.split(".")[0] == "topics"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def recorded():
    """The directive's module."""
    pytest.importorskip("sphinx")
    return load(BOOK / "extensions" / "recorded.py", "recorded_for_tests")


# ------------------------------------------------------------------- what was recorded


def test_every_file_is_a_topics_and_every_topic_has_a_file(record):
    assert list(RECORDS) == NAMES
    assert sorted(record.known()) == NAMES
    assert len(NAMES) == len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))


def plain(value: Any) -> Any:
    """As from a file, and without the last digits, which a machine may round anew."""
    return json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.9g}")


@each
def test_a_file_is_what_its_topic_would_record(name, record):
    found, topic = RECORDS[name], record.known()[name]
    assert (found["title"], found["label"]) == (topic.title, topic.label)
    assert found["positions"] == list(topic.positions)
    assert found["first"] == topic.first
    for plot, axes in zip(found["plots"], topic.axes.values(), strict=True):
        kept = {key: value for key, value in plot.items() if key != "series"}
        assert plain(kept) == plain(axes)


@each
def test_a_figure_is_small_and_each_position_is_whole(name):
    found = RECORDS[name]
    count = len(found["positions"])
    assert 5 <= count <= 10
    assert len(set(found["positions"])) == count
    assert 0 <= found["first"] < count
    assert (BOOK / "recorded" / f"{name}.json").stat().st_size < 40_000
    settings = found["made"]["settings"]
    assert len(found["words"]) == len(settings) == count
    assert all(settings)
    assert all(words.endswith(".") for words in found["words"])
    for plot in found["plots"]:
        for label, runs in plot["series"].items():
            assert len(runs) == count, label
            for run in runs:
                assert len(run["x"]) == len(run["y"]) > 0, label
                assert all(map(math.isfinite, run["x"] + run["y"])), label


@each
def test_the_settings_are_those_of_the_position(name):
    """Some setting differs from position to position as the knob does."""
    found = RECORDS[name]
    settings = found["made"]["settings"]
    moved = [k for k in settings[0] if len({str(s[k]) for s in settings}) > 1]
    assert len(moved) == 1
    pairs = zip(settings, found["positions"], strict=True)
    factors = {setting[moved[0]] / place for setting, place in pairs if place}
    assert len(factors) == 1  # 1, or the processes that each have so many rows


def numbers(value: Any) -> list[float]:
    """All numbers in settings, at any depth."""
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, list):
        return [n for part in value for n in numbers(part)]
    if isinstance(value, str):
        return [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", value)]
    return [float(value)]


def places(found: dict[str, Any], at: int) -> list[float]:
    """Where a sentence may take its numbers from: settings, ends and extremes."""
    allowed = [*numbers(found["made"]["settings"][at]), float(found["positions"][at])]
    for plot in found["plots"]:
        references = list(plot.get("references", {}).values())
        for runs in plot["series"].values():
            xs, ys = runs[at]["x"], runs[at]["y"]
            ends = [ys[0], ys[-1], min(ys), max(ys)]
            highest, lowest = xs[ys.index(max(ys))], xs[ys.index(min(ys))]
            allowed += [
                xs[-1],
                highest,
                lowest,
                *ends,
                *(100 * y for y in ends),
            ]  # or in percent
            allowed += [y - floor for y in ends for floor in references]
    return allowed


@each
def test_each_number_in_the_words_is_in_the_curves_or_the_settings(name):
    found = RECORDS[name]
    for at, words in enumerate(found["words"]):
        allowed = places(found, at)
        stated = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?", words)
        assert stated, words
        for text in stated:
            said = float(text.replace(",", ""))
            mantissa = text.split("e")[0]
            decimals = len(mantissa.partition(".")[2])
            unit = 10.0 ** (math.floor(math.log10(abs(said))) if "e" in text else 0)
            # Curves are kept to four digits, so a rounded number may be one off.
            room = 10.0**-decimals * unit
            near = [a for a in allowed if abs(a - said) <= room + 1e-3 * abs(said)]
            assert near, f"{text} in {words!r}"


@each
def test_something_moves_at_every_step_of_the_slider(name):
    found = RECORDS[name]
    shown = [
        json.dumps(
            [[runs[at] for runs in p["series"].values()] for p in found["plots"]]
        )
        for at in range(len(found["positions"]))
    ]
    assert len(set(shown)) == len(set(found["words"])) == len(shown)


def test_the_page_shows_every_figure_once_and_links_its_notebook():
    text = (BOOK / "recorded.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"```\{recorded\} (\w+)", text)) == NAMES
    linked = re.findall(r"\.\./notebooks/\d\d_(\w+)\.ipynb", text)
    shown = re.findall(r"```\{recorded\} (\w+)", text)
    assert linked == shown


# ---------------------------------------------------------------------------- the tools


@pytest.mark.parametrize("count", [1, 2, 90, 91, 4000])
def test_thin_keeps_ends_and_order(record, count):
    x = list(range(count))
    thinned = record.thin(x, [100.0 + n for n in x])
    assert len(thinned["x"]) == len(thinned["y"]) == min(count, record.POINTS)
    assert (thinned["x"][0], thinned["x"][-1]) == (x[0], x[-1])
    assert thinned["y"][0] == 100
    assert thinned["y"][-1] == pytest.approx(100 + x[-1], rel=1e-3)
    assert thinned["x"] == sorted(thinned["x"])


def test_thin_leaves_out_what_is_not_a_number(record):
    thinned = record.thin([1, 2, 3], [0.5, math.nan, 0.25])
    assert thinned == {"x": [1.0, 3.0], "y": [0.5, 0.25]}


def test_thin_takes_means_so_noise_cancels(record):
    x = range(90_000)
    thinned = record.thin(x, [n % 2 for n in x])
    assert all(y == pytest.approx(0.5, abs=0.01) for y in thinned["y"][1:-1])


def test_an_unknown_name_is_an_error_that_names_the_choices(record, capsys):
    with pytest.raises(SystemExit) as stopped:
        record.main(["warmups"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "'warmups'" in said
    assert all(name in said for name in NAMES)


def toy(record: ModuleType) -> Any:
    def make(position: int) -> Any:
        curves = {
            "loss": {"a": ([0, 1], [2.0, 1.0 / position])},
            "end": {"a": ([position], [1.0 / position])},
        }
        return record.Position(curves, f"It is {position}.", {"knob": position})

    axes = {
        "loss": {"x": "step", "y": "loss", "references": {"floor": 0.1}},
        "end": {"y": "loss at the end", "across": True, "scale": "log"},
    }
    return record.Recording("A toy", "knob", [1, 2, 4, 8, 16], 1, axes, make)


def test_a_recording_writes_what_the_directive_draws(
    record, recorded, monkeypatch, capsys
):
    monkeypatch.setattr(record, "known", lambda: {"toy": toy(record)})
    record.main(["toy"])
    assert "It is 16." in capsys.readouterr().out
    path = record.HERE / "recorded" / "toy.json"
    page = recorded.page("toy", json.loads(path.read_text(encoding="utf-8")))
    assert page.count("<svg ") == page.count('role="img"') == 1
    assert page.count('class="lmx-position"') == 5
    assert page.count(" hidden><p>") == 4
    assert "<output>2</output>" in page
    assert 'max="4" value="1"' in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"#(toy-\w+)", page)) <= set(ids)
    assert recorded.INK not in page  # lines and words take the page's colour


def test_only_the_first_choice_shows_until_the_slider_moves(record, recorded):
    page = recorded.page("toy", record.record(toy(record)))
    marks = re.findall(r'class="lmx-marks" data-at="(\d+)"( hidden)?', page)
    # The curve; the bar and the point in the plot over all positions.
    assert sorted(at for at, _ in marks) == sorted("01234" * 3)
    assert {at for at, hidden in marks if not hidden} == {"1"}


def test_the_words_of_a_picture_are_whole_and_the_marks_are_short(record, recorded):
    """Digits are dropped in coordinates, and never in labels."""
    made = record.record(toy(record))
    made["positions"] = [0.00125, 2, 4, 8, 16]
    page = recorded.page("toy", made)
    assert ">0.00125</text>" in page
    paths = re.findall(r' d="([^"]+)"', page)
    assert not re.search(r"\.\d\d", "".join(paths))


def test_a_page_of_all_figures_is_small(recorded):
    """The theme itself is some 2.2 of the 3 MiB that a page of the book may have."""
    pages = [recorded.page(name, record) for name, record in RECORDS.items()]
    assert sum(map(len, pages)) < 600_000


def test_limits_leave_room_also_on_a_logarithmic_scale(recorded):
    plot = {"series": {"a": [{"y": [1.0, 100.0]}]}, "references": {"floor": 0.5}}
    low, high = recorded.limits(plot)
    assert low < 0.5 < 100 < high
    low, high = recorded.limits(plot | {"scale": "log"})
    assert 0 < low < 0.5 < 100 < high
    assert recorded.limits({"series": {"a": [{"y": [3.0]}]}}) == (2.0, 4.0)


def test_two_processes_are_slower_as_the_page_says():
    text = (BOOK / "recorded.md").read_text(encoding="utf-8")
    assert "two are slower than one at every size" in text
    times = RECORDS["data_parallel"]["plots"][1]["series"]
    pairs = zip(times["one process"], times["two processes"], strict=True)
    assert all(two["y"] > one["y"] for one, two in pairs)
