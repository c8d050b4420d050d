"""A pytest plugin: what fails behind a notebook's cells fails the notebook.

nbval sees what a cell raises, also from ``button.click()`` in a cell. It does not see
an exception in a task, in a thread, in a callback that a task ran, or in a panel whose
run nobody waited for: these end up in a log or in the panel. This plugin runs a cell
before the first of each notebook, which listens, and one after the last, which tells.
"""

from collections import defaultdict
from itertools import groupby

from nbformat.v4 import new_code_cell
from nbval.plugin import IPyNbCell, IPyNbFile
import pytest

LISTEN = """\
def _listen():
    import asyncio
    import threading

    def task_failed(loop, context):
        failures.append(f"{context['message']}: {context.get('exception')!r}")

    def thread_failed(args):
        failures.append(f"exception in a thread: {args.exc_value!r}")

    def show(*args, running_compiled_code=False, **kwargs):
        if not running_compiled_code:  # not a cell's own: a widget's callback
            import sys
            failures.append(f"exception in a callback: {sys.exception()!r}")
        return shown(*args, running_compiled_code=running_compiled_code, **kwargs)

    failures = []
    shell = get_ipython()
    shown, shell.showtraceback = shell.showtraceback, show
    asyncio.get_running_loop().set_exception_handler(task_failed)
    threading.excepthook = thread_failed
    return failures


_failures_behind_cells = _listen()
"""
TELL = """\
async def _tell(failures):
    import asyncio
    import gc
    import sys

    await asyncio.sleep(0.05)  # what has been asked for happens
    gc.collect()  # a failed task tells when it goes
    await asyncio.sleep(0)
    driver = sys.modules.get("lmxlab.lab.driver")
    for thing in gc.get_objects() if driver else ():
        if issubclass(type(thing), driver.Driver):
            if thing.error is not None and not thing.error_was_raised:
                failures.append(f"{type(thing).__name__} failed: {thing.error!r}")
    assert not failures, "behind the cells: " + "; ".join(failures)


await _tell(_failures_behind_cells)
"""


def _cell(notebook: IPyNbFile, name: str, number: int, source: str) -> IPyNbCell:
    return IPyNbCell.from_parent(
        notebook,
        name=name,
        cell_num=number,
        cell=new_code_cell(source),
        options=defaultdict(bool),
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the two cells around each notebook's own."""
    ordered: list[pytest.Item] = []
    for parent, group in groupby(items, key=lambda item: item.parent):
        cells = list(group)
        if isinstance(parent, IPyNbFile):
            cells = [
                _cell(parent, "listen behind the cells", -1, LISTEN),
                *cells,
                _cell(parent, "nothing failed behind the cells", len(cells), TELL),
            ]
        ordered += cells
    items[:] = ordered
