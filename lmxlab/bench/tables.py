"""A report of the bench as text, and the change from one report to another."""

from collections.abc import Iterator
from typing import Any

Report = dict[str, Any]

# At least, or at most, on two CPU cores under Linux.
BUDGETS = {
    "step_vs_bare": ("at most", 1.02),
    "compiled_vs_eager": ("at least", 1.5),
    "step_vs_plain": ("at least", 8.0),
    "step_vs_torch": ("at least", 1.0),
    "live_plot": ("at least", 0.97),
    "panel": ("at least", 0.97),
}
# The same, so wide that only a mistake breaks them and no busy moment: `--check`.
GUARDS = {
    "step_vs_bare": ("at most", 1.25),
    "compiled_vs_eager": ("at least", 1.2),
    "step_vs_plain": ("at least", 3.0),
    "step_vs_torch": ("at least", 0.5),
    "live_plot": ("at least", 0.85),
    "panel": ("at least", 0.85),
}
# The cases that a budget is about; the others are shown for comparison.
BUDGETED = {
    "step_vs_bare": {"story"},
    "compiled_vs_eager": {"story"},
    "step_vs_plain": {"medium", "large"},
    "step_vs_torch": {"story", "medium", "large"},
    "live_plot": {""},
    "panel": {""},
}


def render(report: Report) -> str:
    """Return a report as aligned text.

    Args:
        report: From :func:`lmxlab.bench.measure`.

    Returns:
        Lines for a terminal: the machine, then each measurement with its spread.
    """
    about = report["machine"]
    load = ", ".join(f"{value:.1f}" for value in about["load_before"])
    threads = about["blas_threads"]
    lines = [
        f"{about['device']}, {about['cores']} cores, load {load}",
        f"lmxlab {about['lmxlab']}, mlx {about['mlx']}, Python {about['python']}",
        f"BLAS: {about['blas'] or 'the one that MLX brings'}"
        + (f", threads: {threads}" if threads else ""),
        f"measured {about['when']}, in {report['seconds']:.0f} s",
        "",
        f"{'median (10th to 90th percentile)':58} {'samples':>8}",
    ]
    for name in [key for key in report if key not in ("machine", "quick", "seconds")]:
        lines += ["", name]
        lines += [f"  {line}" for line in _section(name, report[name])]
    return "\n".join(lines)


def _section(name: str, result: Any) -> Iterator[str]:
    if "reason" in result:
        yield f"not measured: {result['reason']}"
        return
    for key, value in result.items():
        if isinstance(value, dict) and "median" in value:
            spread = f"{_short(value['p10'])} to {_short(value['p90'])}"
            number = f"{_short(value['median']):>9} ({spread})"
            yield f"{key:24} {number:31} {value['samples']:>8}"
        elif isinstance(value, dict):
            yield key
            yield from (f"  {line}" for line in _section(f"{name}.{key}", value))
        else:
            yield f"{key:24} {_short(value):>9}{_verdict(name, key, value)}"


def _verdict(name: str, key: str, value: Any) -> str:
    section, _, case = name.partition(".")
    if key != "ratio" or case not in BUDGETED.get(section, set()):
        return ""
    sense, bound = BUDGETS[section]
    note = "" if _keeps(value, sense, bound) else ", NOT KEPT"
    return f" budget: {sense} {bound}{note}"


def _keeps(value: float, sense: str, bound: float) -> bool:
    return value <= bound if sense == "at most" else value >= bound


def regressions(report: Report) -> list[str]:
    """Say which ratios are so far off that it cannot be noise.

    Args:
        report: From :func:`lmxlab.bench.measure`.

    Returns:
        A sentence for each; none if all is well.

    Example:
        >>> regressions({"step_vs_bare": {"story": {"ratio": 2.0}}})
        ['step_vs_bare.story.ratio is 2.00; it must be at most 1.25']
    """
    found = []
    for section, (sense, bound) in GUARDS.items():
        for case in sorted(BUDGETED[section]):
            result = report.get(section, {})
            value = (result.get(case, {}) if case else result).get("ratio")
            if value is not None and not _keeps(value, sense, bound):
                name = ".".join(filter(None, [section, case, "ratio"]))
                found.append(f"{name} is {value:.2f}; it must be {sense} {bound}")
    return found


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def compare(old: Report, new: Report) -> str:
    """Return the change of each number that both reports have.

    Args:
        old: An earlier report.
        new: A later one, of the same machine if the numbers are to mean anything.

    Returns:
        Aligned text: old, new, and new over old.
    """
    lines = [
        f"{'change since the older report':44} {'old':>9} {'new':>9} {'new/old':>9}"
    ]
    known = ("device", "cores", "mlx", "blas", "blas_threads")
    for key in known:
        before, after = (report["machine"].get(key) for report in (old, new))
        if before != after:
            lines.append(f"{key} differs: {before} became {after}")
    earlier = dict(_numbers(old))
    for name, value in _numbers(new):
        if earlier.get(name):
            before = earlier[name]
            lines.append(
                f"{name:44} {_short(before):>9} {_short(value):>9} "
                f"{value / before:>9.3f}"
            )
    return "\n".join(lines)


def _numbers(report: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield medians, ratios and first calls, each with its path."""
    for key, value in report.items():
        if key in ("machine", "seconds", "quick", "p10", "p90", "samples", "frames"):
            continue
        name = path if key == "median" else f"{path}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from _numbers(value, name)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)
