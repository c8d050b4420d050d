"""Runs the notebooks that have changed, one on each core, and keeps what they show.

Sphinx would run them one after the other. It finds them here (jupyter-cache) by their
cells, and by the library: outputs of another library are not what it does now.
"""

import hashlib
from pathlib import Path
import shutil
import sys

from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TIMEOUT = 300  # seconds, of a cell


def cache_path() -> Path:
    """Return where the outputs of the library as it is now are kept."""
    sources = sorted((ROOT / "lmxlab").rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return ROOT / "_build" / f"jupyter-cache-{digest.hexdigest()[:12]}"


def main() -> None:
    """Run what is not kept yet; an error ends the build, with the cell that made it."""
    path = cache_path()
    for old in set(path.parent.glob("jupyter-cache-*")) - {path}:
        shutil.rmtree(old)
    cache = get_cache(str(path))
    records = [cache.add_nb_to_project(str(path)) for path in NOTEBOOKS]
    done = load_executor("local-parallel", cache).run_and_cache(
        filter_uris=[record.uri for record in records], timeout=TIMEOUT
    )
    print(f"notebooks: {len(done.succeeded)} run, {len(NOTEBOOKS)} in all", flush=True)
    if done.excepted or done.errored:
        for record in records:
            if told := cache.get_project_record(record.pk).traceback:
                print(f"{record.uri}\n{told}", file=sys.stderr)
        sys.exit(f"failed: {', '.join(done.all()[len(done.succeeded) :])}")


if __name__ == "__main__":
    main()
