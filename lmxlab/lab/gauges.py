"""Which metrics have a plot, and which of them share one; whatever the topic."""

from collections.abc import Iterable, Mapping, Sequence


def checked(gauges: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Check the gauges that were asked for, and return a copy: title to metrics.

    Args:
        gauges: Title, with its unit, to the metrics that share a plot.

    Raises:
        ValueError: If what is under a title is no list of names.

    Example:
        >>> checked({"KL (nats)": "kl"})
        Traceback (most recent call last):
            ...
        ValueError: gauges['KL (nats)'] must be a list of names, got 'kl'; write \
{'title (unit)': ['metric']}
    """
    for title, names in gauges.items():
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            wrong = f"gauges[{title!r}] must be a list of names, got {names!r}"
            raise ValueError(f"{wrong}; write {{'title (unit)': ['metric']}}")
    return {title: list(names) for title, names in gauges.items()}


def label_of(title: str, gauges: Mapping[str, Sequence[str]]) -> str:
    """Return the axis label of a gauge: its title, or the words of a metric's name.

    Args:
        title: As :func:`shown` returns it.
        gauges: Those that were asked for, whose titles stay as they are.

    Example:
        >>> label_of("p_end (probability)", {"p_end (probability)": ["p_end"]})
        'p_end (probability)'
        >>> label_of("grad_norm", {}), label_of("clip_share", {})
        ('gradient norm', 'clip share')
    """
    if title in gauges:
        return title
    return title.replace("grad_norm", "gradient norm").replace("_", " ")


def shared(several: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Return the gauges of several runs, which are drawn in the same plots.

    Args:
        several: The gauges of each run, title to metrics.

    Example:
        >>> shared([{"loss per head": ["head_1"]}, {"loss per head": ["head_2"]}])
        {'loss per head': ['head_1', 'head_2']}
    """
    all_of: dict[str, list[str]] = {}
    for gauges in several:
        for title, names in checked(gauges).items():
            there = all_of.setdefault(title, [])
            there += [name for name in names if name not in there]
    return all_of


def shown(
    gauges: Mapping[str, Sequence[str]], metrics: Iterable[str], most: int
) -> list[tuple[str, list[str]]]:
    """Return title and metrics of each gauge that has something to show.

    Args:
        gauges: Gauges that were asked for, which come first: title to metrics.
        metrics: Names of all metrics with values. One that is in no gauge gets its own;
            an evaluation, ``eval_NAME``, belongs to the gauge of ``NAME``.
        most: Number of gauges at the most.

    Example:
        >>> shown({"rewards": ["right", "wrong"]}, ["kl", "right", "eval_kl"], most=6)
        [('rewards', ['right']), ('kl', ['kl'])]
    """
    found = {name.removeprefix("eval_") for name in metrics}
    alone = sorted(found.difference(*gauges.values()))
    wanted = [*gauges.items(), *((name, [name]) for name in alone)]
    there = [(title, [m for m in group if m in found]) for title, group in wanted]
    return [(title, group) for title, group in there if group][:most]
