"""How much is sampled for a report of the bench: all of it, or a quick look."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How much is sampled: turns of steps, for each case that is measured.

    Attributes:
        bare: Turns and steps by case, for ``step_vs_bare``.
        eager: The same for ``compiled_vs_eager``.
        plain: The same for ``step_vs_plain``.
        torch: The same for ``step_vs_torch``; cases for a GPU are left out on a CPU.
        blas_sizes: Of the matrix products.
        blas_seconds: For each size and BLAS.
        plot_turns: Turns with and without the live plot.
        plot_seconds: Of a turn.
        panel: Seconds with and without a panel in a block, and blocks.
        cold: Whether to build all kernels afresh.
    """

    bare: dict[str, tuple[int, int]]
    eager: dict[str, tuple[int, int]]
    plain: dict[str, tuple[int, int]]
    torch: dict[str, tuple[int, int]]
    blas_sizes: tuple[int, ...]
    blas_seconds: float
    plot_turns: int
    plot_seconds: float
    panel: tuple[float, int]
    cold: bool


FULL = Effort(
    bare={"story": (80, 10), "medium": (20, 8)},
    eager={"story": (30, 10), "medium": (12, 8), "large": (5, 4)},
    plain={"story": (12, 10), "medium": (6, 4), "large": (4, 1)},
    torch={
        "story": (30, 10),
        "medium": (10, 6),
        "large": (5, 4),
        "base": (6, 5),
        "gpt2": (6, 5),
    },
    blas_sizes=(256, 512, 1024),
    blas_seconds=1.0,
    plot_turns=8,
    plot_seconds=1.0,
    panel=(5.0, 3),
    cold=True,
)
QUICK = Effort(
    bare={"story": (30, 10)},
    eager={"story": (10, 10), "medium": (4, 5), "large": (2, 3)},
    plain={"story": (4, 10), "medium": (2, 2)},
    torch={"story": (4, 10), "medium": (2, 4)},
    blas_sizes=(256, 512),
    blas_seconds=0.3,
    plot_turns=4,
    plot_seconds=1.0,
    panel=(3.0, 1),
    cold=False,
)
