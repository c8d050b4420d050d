"""A real JupyterLab and a real Chromium, and a page that knows the lab's fixed names.

Nothing of the user's is read or written: JupyterLab gets fresh folders for settings and
state, and works on copies of the notebooks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import json
import math
import os
from pathlib import Path
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from typing import Any
import urllib.request

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
ARTIFACTS = Path(__file__).parent / "artifacts"
PATIENCE = 60  # seconds: a machine that is busy with something else is no failure
SETTLED = 0.5  # seconds for which a picture stands still when no frame is on its way
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
]  # fmt: skip
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 800, "height": 900}

# What JupyterLab itself prints as an error, word for word, when nothing is wrong.
NOISE: tuple[str, ...] = ()

HASH = """async (img) => {
    const bytes = await (await fetch(img.src)).arrayBuffer();
    const hash = await crypto.subtle.digest("SHA-256", bytes);
    return Array.from(new Uint8Array(hash)).join();
}"""
# The clock starts at the click itself and ends when the page shows the state.
ARM = """([panel, button, state]) => {
    const shown = () => panel.querySelector(".lmx-status").dataset.state === state;
    window.lmxLatency = new Promise((resolve) => {
        panel.querySelector(button).addEventListener("click", () => {
            const clicked = performance.now();
            const observer = new MutationObserver(() => {
                if (!shown()) { return; }
                observer.disconnect();
                resolve(performance.now() - clicked);
            });
            observer.observe(panel, {subtree: true, childList: true, attributes: true});
            setTimeout(() => resolve(Infinity), 10000);
        }, {capture: true, once: true});
    });
}"""

STEPS = """(panel) => {
    const seen = [];
    window.lmxSteps = seen;
    new MutationObserver(() => {
        const {state, step} = panel.querySelector(".lmx-status").dataset;
        if (state === "running" && step > 0) { seen.push(Number(step)); }
    }).observe(panel, {subtree: true, childList: true, attributes: true});
}"""


def absent(reason: str) -> None:
    """Skip; on a machine where the browser tests must run, fail."""
    if os.environ.get("LMXLAB_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and LMXLAB_REQUIRE_BROWSER=1", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless system Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        absent(f"no browser on PATH; looked for {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Server:
    """A JupyterLab of its own."""

    def __init__(self, home: Path) -> None:
        self.root = home / "root"
        self.settings = home / "settings"
        self.log = home / "server.log"
        self.token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        shutil.copytree(ROOT / "notebooks", self.root)
        # News would ask in a pop-up that covers the page.
        self.setting("notification", fetchNews="false", checkForUpdates=False)
        folders = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        paths = [str(ROOT), str(ROOT / "tests" / "lab")]
        paths.append(os.environ.get("PYTHONPATH", ""))
        environment = {
            **os.environ,
            **{name: str(home / folder) for name, folder in folders.items()},
            "JUPYTERLAB_SETTINGS_DIR": str(self.settings),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1",
            f"--port={self.port}", "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.root}", "--LabApp.extension_manager=readonly",
        ]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def setting(self, plugin: str, **values: Any) -> None:
        """Write user settings; a page that is opened after this has them."""
        folder = self.settings / "@jupyterlab" / "apputils-extension"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{plugin}.jupyterlab-settings"
        path.write_text(json.dumps(values))

    def wait(self, seconds: float = 60) -> None:
        """Wait until it answers."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and self.process.poll() is None:
            try:
                url = f"http://127.0.0.1:{self.port}/api"
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        pytest.fail(f"JupyterLab did not start:\n{self.log.read_text()}")

    def end(self) -> None:
        """End this very process; it ends its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Server]:
    """A JupyterLab that serves copies of the notebooks."""
    running = Server(tmp_path_factory.mktemp("jupyterlab"))
    try:
        running.wait()
        yield running
    finally:
        running.end()


class PanelOnPage:
    """One panel in the page: what it shows, and its buttons and sliders."""

    def __init__(self, page: Any, number: int, kind: str = "panel") -> None:
        self.page = page
        self.box = page.locator(f".lmx-{kind}").nth(number)

    def data(self) -> dict[str, Any]:
        """The status line's attributes."""
        return dict(self.box.locator(".lmx-status").evaluate("e => ({...e.dataset})"))

    @property
    def state(self) -> str:
        return str(self.data()["state"])

    @property
    def step(self) -> int:
        return int(self.data()["step"])

    def press(self, name: str) -> None:
        self.box.locator(f".lmx-{name}").click()

    def until(self, condition: Any, what: str, seconds: float = PATIENCE) -> Any:
        """Poll until ``condition(self)`` holds; return what it gave."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if found := condition(self):
                return found
            self.page.wait_for_timeout(20)
        message = self.box.locator(".lmx-message").all_inner_texts()
        pytest.fail(f"{what}: not within {seconds} s; {self.data()} {message}")

    def picture(self) -> str:
        """A hash of the plot's bytes. Frames are blobs: one may go while it is read."""
        for _ in range(20):
            try:
                return str(self.box.locator("img.lmx-plot").evaluate(HASH))
            except Exception as error:
                if "Failed to fetch" not in str(error):
                    raise
        pytest.fail("the plot's bytes could not be read")

    def settled(self) -> str:
        """The same, once it has stood still: a late frame is no answer to a click."""
        found, since = self.picture(), time.monotonic()
        while time.monotonic() < since + SETTLED:
            self.page.wait_for_timeout(50)
            if (now := self.picture()) != found:
                found, since = now, time.monotonic()
        return found

    def frames(self, count: int, seconds: float = PATIENCE) -> int:
        """Count different pictures seen while the state is running, up to a count."""
        seen = set()
        ends = time.monotonic() + seconds
        while len(seen) < count and time.monotonic() < ends:
            before, found, after = self.state, self.picture(), self.state
            if before == after == "running":
                seen.add(found)
            self.page.wait_for_timeout(20)
        return len(seen)

    def steps_from_now_on(self) -> None:
        """Note each step that the status line shows while running, except 0."""
        self.page.evaluate(STEPS, self.box.element_handle())

    def steps_seen(self) -> list[int]:
        """The steps noted, in order."""
        return list(self.page.evaluate("() => window.lmxSteps"))

    def slide(self, knob: str, key: str, times: int) -> None:
        """Move a slider with the keyboard."""
        handle = self.box.locator(f'.lmx-knob-{knob} [role="slider"]')
        handle.focus()
        for _ in range(times):
            handle.press(key)

    def shown(self, knob: str) -> float:
        """The number beside a slider."""
        readout = self.box.locator(f".lmx-knob-{knob} .widget-readout")
        return float(readout.text_content() or "")

    def says(self) -> str:
        """The sentence under the buttons, or nothing."""
        return " ".join(self.box.locator(".lmx-message").all_text_contents())

    def turn(self, knob: str, key: str, times: int = 1) -> float:
        """Turn a live knob; return what it shows once the kernel has taken it in."""
        self.slide(knob, key, times)
        words = knob.replace("_", " ")
        said = re.compile(rf"^{words} = (\S+) from step \d+ on\.$")

        def taken(panel: "PanelOnPage") -> bool:
            found = said.match(panel.says())
            return found is not None and math.isclose(
                float(found[1]), panel.shown(knob), rel_tol=0.01, abs_tol=1e-9
            )

        self.until(taken, f"{knob} acts")
        return self.shown(knob)

    def one_step(self) -> None:
        """Press Step, and wait for it."""
        held = self.step
        self.press("step")
        self.until(lambda p: (p.state, p.step) == ("paused", held + 1), "Step")

    def latency(self, button: str, state: str) -> float:
        """Press a button; return the seconds until the page shows a state."""
        element = self.box.element_handle()
        self.page.evaluate(ARM, [element, f".lmx-{button}", state])
        self.press(button)
        return float(self.page.evaluate("() => window.lmxLatency")) / 1e3

    def shoot(self, name: str, part: Any = None) -> None:
        """Keep a picture of the panel, or of something else in the page."""
        ARTIFACTS.mkdir(exist_ok=True)
        found = self.box if part is None else part
        found.scroll_into_view_if_needed()
        found.screenshot(path=ARTIFACTS / f"{name}.png")


class NotebookOnPage:
    """A notebook in JupyterLab."""

    def __init__(self, page: Any, server: Server, name: str) -> None:
        self.page, self.server, self.name = page, server, name

    def open(self) -> None:
        self.page.goto(
            f"http://127.0.0.1:{self.server.port}/lab/tree/{self.name}"
            f"?token={self.server.token}&reset"
        )
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        self.idle(60)

    def idle(self, seconds: float) -> None:
        bar = self.page.locator("#jp-main-statusbar")
        bar.get_by_text("| Idle").wait_for(timeout=seconds * 1e3)

    def run_all(self, seconds: float = 60) -> None:
        """Menu Run, Run All Cells; wait until the last one has its number."""
        self.menu("Run", "Run All Cells")
        cells = self.page.locator(".jp-Notebook .jp-CodeCell")
        last = cells.last.locator(".jp-InputPrompt").first
        ends = time.monotonic() + seconds
        while not re.search(r"\[\d+\]", last.inner_text()):
            assert time.monotonic() < ends, f"cells still run after {seconds} s"
            self.page.wait_for_timeout(100)
        self.idle(seconds)
        errors = cells.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
        assert errors.all_inner_texts() == []

    def run_cell(self, number: int, seconds: float = PATIENCE) -> str:
        """Run one cell as a learner does; return what it printed, once it is through.

        What runs on after it, such as a panel's task, is not waited for.
        """
        cell = self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)
        prompt = cell.locator(".jp-InputPrompt").first
        before = prompt.inner_text()
        prompt.click()
        self.page.keyboard.press("Control+Enter")
        ends = time.monotonic() + seconds
        while True:
            now = prompt.inner_text()
            if now != before and re.search(r"\[\d+\]", now):
                break
            assert time.monotonic() < ends, f"cell {number} runs after {seconds} s"
            self.page.wait_for_timeout(50)
        self.idle(seconds)
        for stream in ("stderr", "error"):
            wrong = cell.locator(f'[data-mime-type$="{stream}"]').all_inner_texts()
            assert wrong == []
        printed = '[data-mime-type="application/vnd.jupyter.stdout"]'
        return "".join(cell.locator(printed).all_inner_texts())

    def tells(self, number: int, condition: Any, what: str) -> Any:
        """Run a cell that prints JSON until it holds; a widget's word may come late."""
        ends = time.monotonic() + PATIENCE
        while True:
            found = json.loads(self.run_cell(number))
            if condition(found):
                return found
            assert time.monotonic() < ends, f"{what}: {found}"

    def menu(self, *names: str) -> None:
        """Go through a menu."""
        for name in names:
            self.page.locator(".lm-Menu-itemLabel, .lm-MenuBar-itemLabel").get_by_text(
                name, exact=True
            ).click()

    def panel(self, number: int = 0, kind: str = "panel") -> PanelOnPage:
        found = PanelOnPage(self.page, number, kind)
        found.box.wait_for()
        found.box.locator(".lmx-status").wait_for()
        return found

    def narrow(self) -> None:
        """Make the window 800 pixels wide."""
        self.page.set_viewport_size(NARROW)
        self.page.wait_for_timeout(500)

    def wide(self) -> None:
        """Make the window 1,280 pixels wide."""
        self.page.set_viewport_size(WIDE)
        self.page.wait_for_timeout(500)

    def shoot(self, name: str) -> None:
        """Keep a picture of the window."""
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png")


@pytest.fixture(scope="session")
def notebook_file(server: Server) -> Any:
    """``notebook_file(name, *cells)``: write one, or add the cells to a copy."""

    def make(name: str, *cells: str) -> str:
        path = server.root / name
        if path.exists():
            nb = nbformat.read(path, as_version=4)
        else:
            nb = nbformat.v4.new_notebook()
            nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nb.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(nb, path)
        return name

    return make


@contextmanager
def opened(chromium: Any, server: Server, name: str) -> Iterator[NotebookOnPage]:
    """A notebook in a page of its own; no console error may come."""
    page = chromium.new_page(viewport=WIDE)
    page.set_default_timeout(PATIENCE * 1e3)
    errors: list[str] = []
    page.on(
        "console",
        lambda line: errors.append(line.text) if line.type == "error" else None,
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        notebook = NotebookOnPage(page, server, name)
        notebook.open()
        yield notebook
        assert [error for error in errors if error not in NOISE] == []
    finally:
        page.close()


@pytest.fixture
def jupyterlab(chromium: Any, server: Server) -> Iterator[Any]:
    """``with jupyterlab(name) as notebook``: for one test."""
    yield lambda name: opened(chromium, server, name)
    end_kernels(server)


@pytest.fixture(scope="module")
def jupyterlab_of_module(chromium: Any, server: Server) -> Iterator[Any]:
    """The same for a notebook that several tests look at, one after the other."""
    yield lambda name: opened(chromium, server, name)
    end_kernels(server)


def end_kernels(server: Server) -> None:
    """Those of the last test would slow down the next."""
    with urllib.request.urlopen(
        urllib.request.Request(
            f"http://127.0.0.1:{server.port}/api/sessions",
            headers={"Authorization": f"token {server.token}"},
        )
    ) as answer:
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/api/sessions/{session['id']}",
            headers={"Authorization": f"token {server.token}"},
            method="DELETE",
        )
        urllib.request.urlopen(request).close()
