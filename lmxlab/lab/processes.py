"""Several processes from a notebook: a script under ``mlx.launch``, and its output.

A notebook's kernel is one process, and cannot become two. So what shall run in parallel
is a script, started here as it would be from a shell, on this machine.
"""

import os
from pathlib import Path
import re
import socket
import subprocess
import sys

import lmxlab


def launch(
    script: str | os.PathLike[str],
    *arguments: str,
    processes: int = 2,
    timeout: float = 120.0,
) -> str:
    """Run a script in several processes that can talk to each other, and wait.

    They are connected by MLX's ring backend over this machine's own network, and each
    computes on the CPU or GPU that MLX chooses.

    Args:
        script: A Python file.
        *arguments: Command line arguments of the script.
        processes: How many; with 1 there is no launcher, and a group of one.
        timeout: Seconds after which all are ended.

    Returns:
        What all of them printed.

    Raises:
        ValueError: If ``processes`` is below 1.
        FileNotFoundError: If there is no such script.
        RuntimeError: If a process failed; the message ends with what it said.
        TimeoutError: If they took longer.

    Example:
        >>> import tempfile
        >>> script = Path(tempfile.mkdtemp()) / "hello.py"
        >>> _ = script.write_text("import sys; print('hello', sys.argv[1])")
        >>> launch(script, "world", processes=1)
        'hello world'
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    path = Path(script)
    if not path.is_file():
        raise FileNotFoundError(f"there is no script {path}")
    command = [sys.executable, str(path), *arguments]
    if processes > 1:
        # The file itself: mlx.launch need not be on the PATH of a notebook's kernel.
        starter = Path(sys.executable).with_name("mlx.launch")
        ring = ["-n", str(processes), "--backend", "ring"]
        port = ["--starting-port", str(_free_port())]
        command = [sys.executable, str(starter), *ring, *port, "--", *command]
    home = str(Path(lmxlab.__file__).parents[1])
    paths = [home, os.environ.get("PYTHONPATH", "")]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(
            f"{path.name} was still running after {timeout:g} s in {processes} "
            "processes and was ended"
        ) from None
    # mlx.launch gives 0 even if its processes failed, but it says so.
    if done.returncode or re.search(r"exited with code (?!0\b)", done.stderr):
        said = (done.stdout + done.stderr).strip()[-1500:]
        raise RuntimeError(f"{path.name} failed:\n{said}")
    return done.stdout.strip()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        # The ring takes this port and the next ones; near the end there are none.
        return min(int(free.getsockname()[1]), 65_000)
