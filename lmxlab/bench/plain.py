"""MLX in a process of its own: as lmxlab prepares it, or as pip installed it.

A process binds its BLAS once, when MLX is loaded, so the two can only be compared from
two processes. Each is a :mod:`lmxlab.bench.worker` that stays alive and measures when
asked: the turns alternate, and whatever else the machine does meanwhile hits both.
"""

import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from lmxlab import runtime

_SAVED = {"LMXLAB_ORIGINAL_PATH": "PATH", "LMXLAB_ORIGINAL_TMPDIR": "TMPDIR"}


def original_environment() -> dict[str, str]:
    """Return this process's environment as it was before lmxlab prepared it.

    Example:
        >>> any(name.startswith("LMXLAB_ORIGINAL") for name in original_environment())
        False
    """
    environment = dict(os.environ)
    for saved, name in _SAVED.items():
        if saved in environment:
            environment[name] = environment.pop(saved)
    return environment


def plain_environment() -> dict[str, str]:
    """Return the environment of a process that runs MLX as pip installed it.

    Its kernels are kept beside ours, in a private folder: in the shared temporary
    folder, which is where MLX puts them, others could exchange them.
    """
    environment = original_environment()
    environment.update(LMXLAB_BLAS="off", LMXLAB_JIT="off", LMXLAB_MALLOC="off")
    cache = runtime.preparation().kernel_cache
    if cache is not None:
        folder = Path(cache, "plain")
        folder.mkdir(mode=0o700, exist_ok=True)
        environment["TMPDIR"] = str(folder)
    return environment


class Worker:
    """A process that answers questions about its own speed.

    Args:
        environment: The process's; lmxlab prepares MLX in it unless told not to.

    Raises:
        RuntimeError: If the process fails, with what it printed.

    Example:
        >>> with Worker(original_environment()) as worker:
        ...     worker.ask("gflops", size=64, seconds=0.01)[0] > 0
        True
    """

    def __init__(self, environment: dict[str, str]) -> None:
        """Start the process."""
        package = str(Path(__file__).parents[2])
        paths = [package, environment.get("PYTHONPATH", "")]
        environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        # A pipe nobody reads would fill and stop the process; closed in __exit__.
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lmxlab.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )

    def ask(self, question: str, **arguments: Any) -> Any:
        """Ask and wait for the answer.

        Args:
            question: The name of a function of the worker's.
            **arguments: Its arguments, plain data.

        Returns:
            What the function returned, plain data.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([question, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{question} failed in a worker:\n{self._errors.read()}")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process; one that is still busy is not waited for."""
        if error is not None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                assert self._process.poll() is not None or error is not None
        self._process.wait()
        self._errors.close()
