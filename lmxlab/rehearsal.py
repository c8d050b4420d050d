"""The kernels of a computation compiled together, before it asks for them one by one.

On a Linux CPU MLX compiles a kernel when it comes to it, and waits: nine tenths of
those 0.2 to 1.2 s go to one header, the same for each. So a copy of this process
rehearses the computation with kernels that do nothing, which shows what their sources
are; then these are compiled as a file or two, one for each core.

A rehearsal computes nonsense, and may even crash: that is why it is a process of its
own. Whatever goes wrong in it, or is missed, MLX compiles itself as ever.
``LMXLAB_AHEAD=off`` switches rehearsals off.
"""

from collections.abc import Callable
import faulthandler
import hashlib
import os
from pathlib import Path
import resource
import shlex
import signal
import subprocess
import tempfile
import time
from typing import NoReturn
import warnings

from lmxlab import runtime
from lmxlab.kernel_compiler import JIT_FLAGS, MLX_COMMAND, MLX_HEADER
import mlx.core as mx

LIMIT = 10.0  # seconds that a rehearsal may take
HEADER = f'#include "{MLX_HEADER}"\n'
_NOTHING = 'extern "C" void nothing() {}\n'


def compile_ahead(name: str, compute: Callable[[], object]) -> int:
    """Compile the kernels that are missing for a computation, unless that was done.

    Args:
        name: Says what is computed. A name is rehearsed once on a machine.
        compute: Builds and evaluates it, and changes nothing outside this process. It
            is called in a copy of the process.

    Returns:
        Number of kernels compiled; 0 where MLX does not compile files, and in a process
        of ``mlx.launch``, whose copies would talk to the others.

    Example:
        >>> compile_ahead("a sum", lambda: mx.eval(mx.ones(2) + 1)) >= 0
        True
    """
    done = runtime.preparation()
    off = os.environ.get("LMXLAB_AHEAD", "").strip().lower() == "off"
    if off or done.kernel_cache is None or done.compiler is None or runtime.is_gpu():
        return 0
    cache = Path(done.kernel_cache)
    mark = cache / "rehearsed" / hashlib.sha256(name.encode()).hexdigest()[:16]
    if mark.exists() or mx.distributed.init().size() > 1:
        return 0
    count = 0
    try:
        mark.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=cache, prefix="rehearsal-", ignore_cleanup_errors=True
        ) as scratch:
            stage = Path(scratch)
            _write_compiler(stage, cache, done.compiler)
            _rehearse(stage, compute)
            count = _compile(stage, cache, done.compiler)
        mark.touch()
    except (OSError, subprocess.SubprocessError) as error:
        done.notes.append(f"Kernels could not be compiled ahead: {error!r}")
    return count


def _write_compiler(stage: Path, cache: Path, compiler: str) -> None:
    """Write a ``g++`` that links what exists, or else a kernel that does nothing."""
    source, nothing = stage / "nothing.cpp", stage / "nothing.o"
    source.write_text(_NOTHING)
    command = [compiler, "-c", "-fPIC", str(source), "-o", str(nothing)]
    subprocess.run(command, check=True)
    asked = [compiler, "-print-prog-name=ld"]
    ld = subprocess.run(asked, check=True, capture_output=True, text=True)
    script = stage / "bin" / "g++"
    script.parent.mkdir()
    script.write_text(f"""#!/bin/sh
case "$*" in
  "{MLX_COMMAND}-I "*) ;;
  *) exec {shlex.quote(compiler)} "$@" ;;
esac
built="${{10}}"
whole={shlex.quote(str(cache))}"${{built#{shlex.quote(str(stage))}}}"
if [ -e "$whole" ]; then exec ln "$whole" "$built"; fi
printf %s "$7" > {shlex.quote(str(stage / "include"))}
while read -r type name; do [ "$type" = void ] && break; done < "$8"
exec {shlex.quote(ld.stdout.strip())} -shared --defsym="${{name%%(*}}=nothing" \\
  -o "$built" {shlex.quote(str(nothing))}
""")
    script.chmod(0o700)


def _rehearse(stage: Path, compute: Callable[[], object]) -> None:
    mx.synchronize()  # the copy has none of MLX's threads, so they must be idle
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, in a fork
        child = os.fork()
    if child == 0:
        _act(stage, compute)
    ended, deadline = 0, time.monotonic() + LIMIT
    try:
        while not ended and time.monotonic() < deadline:
            time.sleep(0.005)
            ended, _ = os.waitpid(child, os.WNOHANG)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _act(stage: Path, compute: Callable[[], object]) -> NoReturn:
    """Be the copy: compute once, without a word, and end."""
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silence, stream)
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ["TMPDIR"] = str(stage)
        os.environ["PATH"] = f"{stage / 'bin'}{os.pathsep}{os.environ['PATH']}"
        mx.set_default_stream(mx.new_stream(mx.Device(mx.cpu)))
        compute()
    finally:
        os._exit(0)  # an error is the real computation's to raise


def _compile(stage: Path, cache: Path, compiler: str) -> int:
    """Compile the sources that the rehearsal left; put the kernels in place."""
    sources = [
        source
        for source in sorted(stage.glob("mlx/**/*.cpp"))
        if not _kernel(source, stage, cache).exists()
    ]
    if not sources:
        return 0
    cores = len(os.sched_getaffinity(0))
    parts = [sources[n::cores] for n in range(min(cores, len(sources)))]
    flags = [*MLX_COMMAND.split(), *JIT_FLAGS, "-w"]
    flags += ["-I", str(cache / "pch"), "-I", (stage / "include").read_text()]
    jobs = []
    for number, part in enumerate(parts):
        whole, library = stage / f"{number}.cpp", stage / f"{number}.so"
        # Once, and first: a precompiled header cannot be included a second time.
        bodies = [source.read_text().replace(HEADER, "") for source in part]
        whole.write_text("".join([HEADER, *bodies]))
        command = [compiler, *flags, str(whole), "-o", str(library)]
        jobs.append((subprocess.Popen(command), library, part))
    for job, library, part in jobs:
        if job.wait() == 0:
            for source in part:
                _place(library, _kernel(source, stage, cache))
    return sum(_kernel(source, stage, cache).exists() for source in sources)


def _kernel(source: Path, stage: Path, cache: Path) -> Path:
    """Where MLX looks for the kernel of a source that the rehearsal left."""
    folder = cache / source.parent.relative_to(stage)
    return folder / f"lib{source.stem}.so"


def _place(library: Path, kernel: Path) -> None:
    """Give a library another name; it appears whole, under a process's eyes or not."""
    kernel.parent.mkdir(parents=True, exist_ok=True)
    draft = kernel.with_name(f"{library.parent.name}.{library.name}")
    os.link(library, draft)
    draft.replace(kernel)
