"""The built book: nothing from the network, sliders that move, words that are found.

``make book`` builds it into ``_build/html`` and then runs this file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import functools
import hashlib
import http.server
import json
import os
from pathlib import Path
import re
import threading
from typing import Any

from lmxlab.bench.cases import CASES, GPU_CASES
import pytest

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "_build" / "html"
PAGES = sorted(
    path.relative_to(BOOK).as_posix()
    for folder in ("book", "notebooks")
    for path in (BOOK / folder).rglob("*.html")
)
MAX_BYTES = 3 * 2**20
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 900}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def built():
    if PAGES:
        return
    if os.environ.get("LMXLAB_REQUIRE_BOOK") == "1":
        pytest.fail(f"there is no book in {BOOK}, and LMXLAB_REQUIRE_BOOK=1")
    pytest.skip("the book is not built: make book")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """A test's output is not for an access log."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(BOOK))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Visit:
    """A page, what it asked for, and what went wrong."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.left: list[str] = []
        self.faults: list[str] = []
        self.bytes = 0
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("response", self._response)
        page.route(lambda url: not url.startswith((address, "data:")), self._leaves)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(message.text)

    def _leaves(self, route: Any) -> None:
        self.left.append(route.request.url)
        route.abort()

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")
        elif response.url.startswith(self.address):
            path = BOOK / response.url.removeprefix(self.address).split("?")[0].lstrip(
                "/"
            )
            self.bytes += path.stat().st_size if path.is_file() else 0

    def goto(self, name: str) -> None:
        self.page.goto(f"{self.address}/{name}")
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate("window.MathJax?.startup?.promise")


@contextmanager
def visit(chromium: Any, address: str, **options: Any) -> Iterator[Visit]:
    context = chromium.new_context(**options)
    try:
        yield Visit(context.new_page(), address)
    finally:
        context.close()


BEYOND = "document.documentElement.scrollWidth - window.innerWidth"
# Where a picture has no words, Sphinx writes the name of its file instead.
WORDLESS = """[...document.images]
    .filter(i => !/\\w \\w/.test(i.alt) || i.src.endsWith(i.alt.split("/").pop()))
    .map(i => i.src)"""
BROKEN = """[...document.images]
    .filter(i => i.complete && i.offsetParent && !i.naturalWidth).map(i => i.src)"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_stays_on_this_machine_and_fits(name, chromium, address):
    with visit(chromium, address, viewport=WIDE) as seen:
        seen.goto(name)
        for size in (WIDE, PHONE):
            seen.page.set_viewport_size(size)
            seen.page.wait_for_timeout(100)
            assert seen.page.evaluate(BEYOND) <= 0, f"scrolls sideways at {size}"
            assert seen.page.evaluate(WORDLESS) == [], "pictures without words"
            assert seen.page.evaluate(BROKEN) == []
            assert seen.page.locator("mjx-merror").count() == 0
        assert (seen.left, seen.faults) == ([], [])
        assert seen.bytes < MAX_BYTES, f"{seen.bytes / 2**20:.1f} MiB"
        if name.startswith("notebooks/"):
            outputs = seen.page.locator(".cell_output")
            assert outputs.count() > 8
            assert seen.page.locator(".cell_output img").count() >= 3
            words = " ".join(outputs.all_inner_texts())
            assert "Traceback" not in words
            assert "application/vnd.jupyter" not in words


def test_every_notebook_is_a_page():
    stems = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [f"notebooks/{stem}.html" for stem in stems] == PAGES[-len(stems) :]


def figures() -> list[str]:
    names = [path.stem for path in (ROOT / "book" / "recorded").glob("*.json")]
    return sorted(name for name in names if not name.startswith("bench"))


@pytest.mark.parametrize("name", figures())
def test_a_slider_moves_through_recorded_runs(name, chromium, address):
    record = json.loads((ROOT / "book" / "recorded" / f"{name}.json").read_text())
    assert 5 <= len(record["positions"]) <= 10
    with visit(chromium, address, viewport=WIDE) as seen:
        seen.goto("book/recorded.html")
        figure = seen.page.locator(f"#recorded-{name}")
        slider = figure.locator("input")
        slider.focus()
        seen.page.keyboard.press("Home")
        pictures, sentences = [], []
        for position in record["positions"]:
            assert figure.locator("output").inner_text() == str(position)
            assert figure.locator("svg:visible").count() == 1
            pictures.append(hashlib.sha256(figure.screenshot()).hexdigest())
            sentences.append(figure.locator(".lmx-position:visible p").inner_text())
            seen.page.keyboard.press("ArrowRight")
        assert len(set(pictures)) == len(pictures)
        assert sentences == record["words"]
        assert (seen.left, seen.faults) == ([], [])


def test_words_are_found_and_the_dark_theme_is_dark(chromium, address):
    with visit(chromium, address, viewport=WIDE) as seen:
        seen.goto("search.html?q=accumulation")
        seen.page.locator("#search-results li").first.wait_for(timeout=20_000)
        assert seen.page.locator("#search-results li").count() > 1
        seen.goto("book/index.html")
        seen.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        colour = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", colour)[:3])) < 60
        assert (seen.left, seen.faults) == ([], [])


def test_a_notebook_page_launches_itself(chromium, address):
    with visit(chromium, address, viewport=WIDE) as seen:
        seen.goto("notebooks/01_compiled_step.html")
        links = seen.page.locator("a[href*='colab'], a[href*='mybinder']")
        found = [links.nth(i).get_attribute("href") for i in range(links.count())]
        assert len(found) == 2
        assert all("notebooks/01_compiled_step.ipynb" in link for link in found)


def table_cells(seen: Visit) -> list[list[str]]:
    rows = "[...document.querySelectorAll('table tr')].map(row => "
    rows += "[...row.querySelectorAll('td')].map(cell => cell.innerText))"
    found: list[list[str]] = seen.page.evaluate(rows)
    return [row for row in found if row]


def test_the_tables_of_performance_are_the_reports(chromium, address):
    report = json.loads((ROOT / "book" / "recorded" / "bench.json").read_text())
    with visit(chromium, address, viewport=WIDE) as seen:
        seen.goto("book/performance.html")
        cells = table_cells(seen)
        words = seen.page.inner_text("article")
    card = json.loads((ROOT / "book" / "recorded" / "bench_gpu.json").read_text())
    sections = ["step_vs_bare", "compiled_vs_eager", "step_vs_plain", "blas", "parts"]
    sections += ["streams", "step_vs_torch", "rollouts", "growth", "memory"]
    report["memory"] = report["growth"]
    report["parts"] = report["parts"]["large"]
    rows = [(name, *item) for name in sections for item in report[name].items()]
    rows += [("gpu", *item) for item in card["step_vs_torch"].items()]
    last = {"growth": "slope", "memory": "slope_memory", "gpu": "ratio_compile"}
    last["parts"] = "library_ms"
    expected = []
    for section, case, found in rows:
        digits = 1 if section == "blas" else 2
        name = f"{case} x {case}" if section == "blas" else case.replace("_", "-")
        value = found[last.get(section, "ratio")]
        expected.append((name, float(f"{value:.{digits}f}")))
    models = list(CASES | GPU_CASES)
    assert [row[0] for row in cells[: len(models)]] == models
    assert [(row[0], float(row[-1])) for row in cells[len(models) :]] == expected
    assert f"the panel leaves {report['panel']['ratio']:.3f}, with" in words


def test_a_source_has_colours_and_every_link_of_their_index_leads_to_one():
    index = (BOOK / "_modules" / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'<li><a href="([^"#]+)">lmxlab', index)
    assert links
    assert all((BOOK / "_modules" / link).is_file() for link in links)
    assert not re.search(r">(builtins|namedtuple_\w+)<", index)
    source = (BOOK / "_modules/lmxlab/training/trainer.html").read_text("utf-8")
    assert '<span class="k">class</span>' in source
