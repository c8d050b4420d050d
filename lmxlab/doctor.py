"""What this machine gives the lab, and what to do where it gives less than it could.

A probe looks at one thing and returns findings: a fact, perhaps with advice. A probe
that fails is a finding too, so that the doctor never raises: whoever runs it has a
problem already. Training that cannot work, or crawls, is *broken*; everything else is
advice.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
import importlib.metadata
import json
import os
from pathlib import Path
import platform
import statistics
import textwrap
import time

import lmxlab
from lmxlab import runtime

INSTALL_LAB = "pip install 'lmxlab[lab]'"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        value: What was found, in words.
        advice: What to do about it; empty when all is well.
        broken: Whether training cannot work, or is many times slower than it should be.
        number: The measurement behind the words, where there is one.
    """

    name: str
    value: str
    advice: str = ""
    broken: bool = False
    number: float | None = None


@dataclass(frozen=True)
class Report:
    """All findings, in the order in which they are shown.

    Attributes:
        findings: What was found, one for each line of the report.

    Example:
        >>> report = Report([Finding("BLAS", "slow", "Install one.", broken=True)])
        >>> report.ok
        False
        >>> print(report.as_text())
        BLAS  slow
        <BLANKLINE>
        Advice
          - (!) Install one.
        <BLANKLINE>
        Training would not work, or would crawl, on this machine: see (!).
    """

    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is broken; advice alone is no failure."""
        return not any(finding.broken for finding in self.findings)

    @property
    def advice(self) -> list[str]:
        """Each piece of advice once."""
        return list(dict.fromkeys(f.advice for f in self.findings if f.advice))

    def as_text(self) -> str:
        """Return the report as aligned lines."""
        width = max((len(finding.name) for finding in self.findings), default=0)
        lines = [
            f"{finding.name:{width}}  {finding.value}" for finding in self.findings
        ]
        broken = {finding.advice for finding in self.findings if finding.broken}
        if self.advice:
            lines += ["", "Advice"]
        for advice in self.advice:
            marked = f"(!) {advice}" if advice in broken else advice
            lines += textwrap.wrap(
                marked, 88, initial_indent="  - ", subsequent_indent="    "
            )
        if self.ok:
            verdict = "Ready to train."
        else:
            verdict = (
                "Training would not work, or would crawl, on this machine: see (!)."
            )
        return "\n".join([*lines, "", verdict])

    def as_json(self) -> str:
        """Return the report as JSON: ``ok``, ``findings`` and ``advice``."""
        report = {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "advice": self.advice,
        }
        return json.dumps(report, indent=2)


Probe = Callable[[], Iterable[Finding]]


def examine(probes: Iterable[Probe] | None = None) -> Report:
    """Run the probes.

    Args:
        probes: All of them by default.

    Returns:
        The report. A probe that fails is a finding that says how.

    Example:
        >>> def torn(): raise OSError("cable torn")
        >>> examine([torn]).findings[0].value
        "could not be examined: OSError('cable torn')"
    """
    findings = []
    for probe in PROBES if probes is None else probes:
        try:
            findings += list(probe())
        except Exception as error:  # what is broken elsewhere must not hide the rest
            name = probe.__name__.replace("_", " ")
            advice = (
                f"The doctor stumbled over {name}; please report it, with this line."
            )
            broken = probe in (mlx, compiler)  # without either nothing trains
            fact = f"could not be examined: {error!r}"
            findings.append(Finding(name, fact, advice, broken))
    return Report(findings)


# ------------------------------------------------------------------------ the machine


def machine() -> Iterator[Finding]:
    """Processor, memory, system."""
    yield Finding("lmxlab", f"{lmxlab.__version__}, Python {platform.python_version()}")
    yield Finding("system", platform.platform())
    cores = os.cpu_count() or 1
    yield Finding("cores", str(cores), number=cores)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield Finding(
        "memory",
        f"{memory:.1f} GiB",
        "" if memory >= 4 else "With less than 4 GiB, set LMXLAB_SIZE=smoke.",
        number=memory,
    )


def mlx() -> Iterator[Finding]:
    """MLX and the device that it computes on."""
    try:
        import mlx.core as mx
    except ImportError as error:
        yield Finding(
            "mlx",
            f"cannot be imported: {error}",
            "MLX is missing or damaged: pip install --force-reinstall 'mlx[cpu]' "
            "(on a Mac: mlx). On Linux it needs glibc 2.35 or newer.",
            broken=True,
        )
        return
    right = mx.arange(4).sum().item() == 6
    yield Finding(
        "mlx",
        _version("mlx") or "of unknown version",
        "" if right else "MLX cannot add: it is damaged. Reinstall it.",
        broken=not right,
    )
    yield Finding("device", f"{runtime.device_name()}, {mx.default_device()}")


def preparation() -> Iterator[Finding]:
    """What the import of lmxlab could not do."""
    for note in runtime.preparation().notes:
        yield Finding("note", note, note)


# --------------------------------------------------------------------- matrix products


def blas() -> Iterator[Finding]:
    """Matrix products: who computes them, how fast, on how many threads."""
    from lmxlab.bench import timing

    size = 256
    ours = statistics.median(timing.gflops(size, 0.2))
    prepared = runtime.preparation()
    if not prepared.applies:
        speed = f"{ours:,.0f} GFLOP/s at {size} x {size}"
        yield Finding("matrix products", f"{speed}, by MLX itself", number=ours)
        return
    slow = prepared.blas is None
    name = prepared.blas or "the one in MLX's wheel"
    yield Finding(
        "BLAS", name, broken=slow, advice=_slow_blas(prepared) if slow else ""
    )
    yield _against_the_wheel(ours, size)
    if prepared.blas_threads is not None:
        yield Finding(
            "BLAS threads",
            f"{prepared.blas_threads} of {len(os.sched_getaffinity(0))} cores (one is "
            "left to the browser; OPENBLAS_NUM_THREADS overrides)",
            number=prepared.blas_threads,
        )


def _slow_blas(prepared: runtime.Preparation) -> str:
    return next(
        (note for note in prepared.notes if "BLAS" in note),
        "MLX computes with its wheel's own BLAS, which is many times slower.",
    )


def _against_the_wheel(ours: float, size: int) -> Finding:
    from lmxlab.bench.plain import Worker, plain_environment

    with Worker(plain_environment()) as plain:
        rates = plain.ask("gflops", size=size, seconds=0.2)
    wheel = statistics.median(rates)
    times = ours / wheel
    bound = runtime.preparation().blas is not None
    return Finding(
        "matrix products",
        f"{ours:,.0f} GFLOP/s at {size} x {size}, {times:.0f} times the wheel's own "
        f"({wheel:.1f})",
        "The BLAS is loaded but matrix products are not faster than with the wheel's "
        "own: is something else using this machine, or is OPENBLAS_NUM_THREADS set?"
        if bound and times < 2
        else "",
        number=times,
    )


# -------------------------------------------------------------------- compiled kernels


def compiler() -> Iterator[Finding]:
    """Whether mx.compile builds kernels, where, and whether they are worth it."""
    prepared = runtime.preparation()
    if prepared.applies:
        missing = next((n for n in prepared.notes if "compiler" in n), "")
        yield Finding(
            "compiler",
            prepared.compiler or "none",
            missing,
            broken=prepared.compiler is None,
        )
        if prepared.kernel_cache is not None:
            yield Finding("kernel cache", prepared.kernel_cache)
    built, eager, compiled = _compiled_kernel()
    gain = eager / compiled
    yield Finding(
        "compiled kernel",
        f"{gain:.1f} times as fast as eager ({eager:.2f} against {compiled:.2f} ms); "
        f"the first call took {built:.2f} s",
        "Compiled kernels are no faster than eager ones. Is the compiler working, and "
        "the kernel cache writable? `lmxlab bench --quick` measures whole steps."
        if prepared.applies and gain < 1.2
        else "",
        number=gain,
    )
    if prepared.kernel_cache is not None:
        count = len(list(Path(prepared.kernel_cache, "mlx").rglob("*.so")))
        yield Finding(
            "kernels built",
            str(count),
            ""
            if count
            else "No kernel was built: mx.compile falls back to uncompiled code. Try "
            f"the compiler by hand, and delete {prepared.kernel_cache}.",
            broken=not count,
            number=count,
        )


def _compiled_kernel() -> tuple[float, float, float]:
    """Seconds of the first call; milliseconds of an eager and of a compiled one."""
    from lmxlab.bench import timing
    import mlx.core as mx

    x = mx.random.normal((512, 512), key=mx.random.key(0))
    mx.eval(x)

    def chain(x: mx.array) -> mx.array:
        return mx.exp(-mx.square(x)) * x + mx.sigmoid(x) * 0.5 - x / (1 + mx.abs(x))

    fused = mx.compile(chain)
    started = time.perf_counter()
    mx.eval(fused(x))
    built = time.perf_counter() - started
    samples = timing.interleave(
        {"eager": lambda: mx.eval(chain(x)), "compiled": lambda: mx.eval(fused(x))},
        turns=5,
        count=3,
    )
    eager, compiled = (statistics.median(samples[k]) for k in ("eager", "compiled"))
    return built, 1e3 * eager, 1e3 * compiled


# ----------------------------------------------------------------------- the notebooks


def notebooks() -> Iterator[Finding]:
    """Versions of what the notebooks need, and whether their Stop button works."""
    needed = (
        "jupyterlab",
        "ipykernel",
        "ipywidgets",
        "jupyterlab_widgets",
        "matplotlib",
    )
    for name in needed:
        version = _version(name)
        yield Finding(
            name,
            version or "not installed",
            "" if version else f"The notebooks need {name}: {INSTALL_LAB}",
        )
    kernel, widgets = _major("ipykernel"), _major("ipywidgets")
    works = kernel >= 6 and widgets >= 8
    yield Finding(
        "Stop button works",
        "yes: training is a task of the kernel's own loop, so Stop acts between steps"
        if works
        else "no",
        ""
        if works
        else "The panel's buttons need ipykernel 6 and ipywidgets 8 or newer: "
        f"{INSTALL_LAB}",
        number=float(works),
    )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _major(distribution: str) -> int:
    return int((_version(distribution) or "0").split(".")[0])


# -------------------------------------------------------------------------------- CUDA


def cuda() -> Iterator[Finding]:
    """Which backend won, where two were installed: both bring mlx/lib/libmlx.so."""
    names = [name for name in ("mlx-cuda-12", "mlx-cuda-13") if _version(name)]
    if not names:
        return
    brought = {name: _recorded_library(name) for name in ("mlx-cpu", *names)}
    places = [path for path, _ in brought.values() if path is not None]
    size = places[0].stat().st_size if places else -1
    winners = [name for name, (_, recorded) in brought.items() if recorded == size]
    winner = winners[0] if winners else "neither"
    lost = winner not in names
    yield Finding(
        "MLX backend",
        f"{winner}; installed: {', '.join(n for n in brought if _version(n))}",
        f"{names[-1]} and mlx-cpu own the same file, and the last one installed won. "
        f"Run: pip install --force-reinstall --no-deps {names[-1]}"
        if lost
        else "",
        broken=lost and Path("/dev/nvidiactl").exists(),
    )


def _recorded_library(distribution: str) -> tuple[Path | None, int | None]:
    """Where a distribution put libmlx.so, and how large that was."""
    if _version(distribution) is None:
        return None, None
    for file in importlib.metadata.files(distribution) or []:
        if file.name == "libmlx.so":
            return Path(str(file.locate())), file.size
    return None, None


PROBES: tuple[Probe, ...] = (
    machine,
    mlx,
    blas,
    compiler,
    preparation,
    notebooks,
    cuda,
)
