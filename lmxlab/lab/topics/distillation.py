"""The exercises of notebook 07: a cache of the teacher, KL's two ways, the pull."""

from typing import Any

from lmxlab.lab.exercises import Exercise, checker
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def _softmax(z: Floats) -> Floats:
    weights = np.exp(z - z.max())
    return np.asarray(weights / weights.sum())


@checker
def check_from_cache(answer: Any) -> str | None:
    """Grade ``from_cache(top, vocab_size)``: the distribution that a reader sees.

    Args:
        answer: The learner's function ``from_cache``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    got = np.asarray(answer({2: 0.5, 0: 0.3}, 6), dtype=float)
    if got.shape != (6,):
        return f"Return 6 probabilities, one a token; got shape {got.shape}."
    if (got == 0).any():
        return (
            "A probability of 0 tells the student that a token is impossible. The "
            "teacher never said so: the cache has only no room for it."
        )
    if np.allclose(got, 1 / 6):
        return "Every token gets the same: what the cache holds is not used."
    if not np.isclose(got.sum(), 1):
        return (
            f"Your probabilities add up to {got.sum():.2f}, not 1: the tokens that "
            "were not kept share what is left, so divide it by how many they are."
        )
    if not np.allclose(got[[2, 0]], [0.5, 0.3]):
        return "Token 2 was kept with 0.5 and token 0 with 0.3: they stay as they are."
    if not np.allclose(got[[1, 3, 4, 5]], 0.05):
        return "The four tokens that were not kept share 0.2: each gets 0.05."
    whole = "When all tokens were kept, nothing is left to share"
    try:
        got = np.asarray(answer({0: 0.75, 1: 0.25}, 2), dtype=float)
    except ZeroDivisionError:
        return f"{whole}, and you divide by zero."
    if not np.allclose(got, [0.75, 0.25]):
        return f"{whole}: return 0.75 and 0.25."
    return None


FROM_CACHE = Exercise(
    title="A teacher on disk",
    difficulty="easy",
    minutes=5,
    question=(
        "A real vocabulary has 100,000 tokens: a cache keeps the few likeliest at each "
        "position. Write `from_cache(top, vocab_size)`: `top` maps kept tokens to "
        "their probabilities; return all probabilities as a list. What was not kept "
        "shares the rest equally."
    ),
    stub="def from_cache(top, vocab_size): ...",
    check=check_from_cache,
    hint="How much probability is left, and among how many tokens?",
    solution="""
        def from_cache(top, vocab_size):
            others = vocab_size - len(top)
            share = (1 - sum(top.values())) / max(others, 1)
            return [top.get(token, share) for token in range(vocab_size)]
    """,
    mistakes={
        "impossible": lambda top, v: [top.get(n, 0.0) for n in range(v)],
        "add up to 1.60": lambda top, v: [
            top.get(n, 1 - sum(top.values())) for n in range(v)
        ],
        "divide by zero": lambda top, v: [
            top.get(n, (1 - sum(top.values())) / (v - len(top))) for n in range(v)
        ],
        "stay as they are": lambda top, v: [
            (top.get(n, 0.0) + 0.1) / (sum(top.values()) + 0.1 * v) for n in range(v)
        ],
        "is not used": lambda top, v: [1 / v] * v,
        "6 probabilities": lambda top, v: list(top.values()),
    },
)


# A teacher of two humps, and students that can make one: on either, or over both.
_HUMPS = np.array([0.01, 0.47, 0.02, 0.02, 0.02, 0.45, 0.01])
_STUDENTS = np.array(
    [
        [0.04, 0.80, 0.08, 0.03, 0.02, 0.02, 0.01],
        [0.08, 0.16, 0.17, 0.18, 0.17, 0.16, 0.08],
        [0.01, 0.02, 0.02, 0.03, 0.08, 0.79, 0.05],
    ]
)


@checker
def check_closest(answer: Any) -> str | None:
    """Grade ``closest(teacher, students, direction)``: who has the least KL.

    Args:
        answer: The learner's function ``closest``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    forward = int(answer(_HUMPS, _STUDENTS, "forward"))
    reverse = int(answer(_HUMPS, _STUDENTS, "reverse"))
    if (forward, reverse) == (0, 1):
        return (
            "You have the two directions swapped: forward is KL(teacher || student), "
            "weighted by what the teacher does."
        )
    if (forward, reverse) == (2, 2) or (forward, reverse) == (2, 1):
        return "That is the student with the greatest KL: take the least."
    if forward == reverse:
        return (
            f"Both directions choose student {forward}. Whose probabilities weigh the "
            "logarithms? In one direction the teacher's, in the other the student's."
        )
    if forward != 1:
        return (
            "Forward: a student that is near 0 where the teacher is not pays most. "
            "The broad student 1 covers both humps."
        )
    if reverse != 0:
        return (
            "Reverse: the student pays for going where the teacher does not. Student "
            "0 keeps to the larger hump."
        )
    order = [2, 0, 1]
    if int(answer(_HUMPS, _STUDENTS[order], "forward")) != 2:
        return "With the students in another order, the answer must move along."
    if int(answer(_STUDENTS[2], _STUDENTS, "reverse")) != 2:
        return "A student equal to the teacher has a KL of 0, the least there is."
    return None


CLOSEST = Exercise(
    title="Cover both, or choose one",
    difficulty="medium",
    minutes=8,
    question=(
        "A teacher has two humps, but a student is too small for more than one. Write "
        "`closest(teacher, students, direction)`: the number of the row of `students` "
        "with the least KL, which is KL(teacher ‖ student) if `direction` is "
        '`"forward"`, and KL(student ‖ teacher) if it is `"reverse"`. Which kind of '
        "student does each prefer?"
    ),
    stub="def closest(teacher, students, direction): ...",
    check=check_closest,
    hint=(
        "`np.sum(a * np.log(a / b), axis=-1)` is KL(a ‖ b), also when one of them is "
        "a table and the other a row."
    ),
    solution="""
        def closest(teacher, students, direction):
            a, b = teacher, students
            if direction == "reverse":
                a, b = b, a
            return np.argmin(np.sum(a * np.log(a / b), axis=-1))
    """,
    mistakes={
        "swapped": """
            def closest(teacher, students, direction):
                a, b = students, teacher
                if direction == "reverse":
                    a, b = b, a
                return np.argmin(np.sum(a * np.log(a / b), axis=-1))
        """,
        "both directions choose": """
            def closest(teacher, students, direction):
                a, b = teacher, students
                return np.argmin(np.sum(a * np.log(a / b), axis=-1))
        """,
        "take the least": """
            def closest(teacher, students, direction):
                a, b = teacher, students
                if direction == "reverse":
                    a, b = b, a
                return np.argmax(np.sum(a * np.log(a / b), axis=-1))
        """,
        "another order": lambda teacher, students, direction: (
            1 if direction == "forward" else 0
        ),
    },
)

_Z_S = np.array([0.5, -0.3, 1.1, 0.0])
_Z_T = np.array([2.0, 0.1, -1.0, 0.4])


@checker
def check_pull(answer: Any) -> str | None:
    """Grade ``pull(z_student, z_teacher, target, tau, alpha)``, a gradient.

    Args:
        answer: The learner's function ``pull``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    tau, alpha, target = 3.0, 0.75, 1
    p, q = _softmax(_Z_T / tau), _softmax(_Z_S / tau)
    onehot = np.eye(4)[target]
    soft, hard = q - p, _softmax(_Z_S) - onehot
    got = np.asarray(answer(_Z_S, _Z_T, target, tau, alpha), dtype=float)
    if got.shape != (4,):
        return f"Return one number a token, 4 here; got shape {got.shape}."
    likely = [
        (
            -alpha * tau * soft - (1 - alpha) * hard,
            "That points uphill: the gradient is what the student says, less what it "
            "should say.",
        ),
        (
            (1 - alpha) * tau * soft + alpha * hard,
            "The weights are swapped: alpha is the teacher's.",
        ),
        (
            alpha / tau * soft + (1 - alpha) * hard,
            "The factor τ² is missing: without it, heat silences the teacher.",
        ),
        (
            alpha * tau**2 * soft + (1 - alpha) * hard,
            "The loss has τ², but z is divided by τ inside the softmax: the chain "
            "rule gives 1/τ, and τ is left.",
        ),
        (
            alpha * soft + (1 - alpha) * hard,
            "A factor is missing: τ² from the loss, times 1/τ from the chain rule.",
        ),
        (
            alpha * tau * soft + (1 - alpha) * (q - onehot),
            "The text is not softened: its part has the student at temperature 1.",
        ),
        (
            alpha * tau * (_softmax(_Z_S) - p) + (1 - alpha) * hard,
            "Teacher and student must be at the same temperature in the soft part.",
        ),
    ]
    for wrong, why in likely:
        if np.allclose(got, wrong):
            return why
    if not np.isclose(got.sum(), 0):
        return (
            f"Your numbers add up to {got.sum():.3f}. Each part is a difference of two "
            "distributions, so they add up to 0."
        )
    if not np.allclose(got, alpha * tau * soft + (1 - alpha) * hard):
        return "It adds up to 0, but it is not the gradient of the equation's loss."
    return None


PULL = Exercise(
    title="Who pulls how hard",
    difficulty="hard",
    minutes=10,
    question=(
        "Write `pull(z_student, z_teacher, target, tau, alpha)`: the gradient of the "
        "loss on the student's logits, at one position. The gradient of a "
        "cross-entropy or a KL on the logits of its softmax is *what is said, less "
        "what should be said*."
    ),
    stub="def pull(z_student, z_teacher, target, tau, alpha): ...",
    check=check_pull,
    hint=(
        "Two parts. In the soft one the logits are divided by τ before the softmax: "
        "the chain rule brings 1/τ, and the loss brings τ²."
    ),
    solution="""
        def pull(z_student, z_teacher, target, tau, alpha):
            def softmax(z):
                weights = np.exp(z - np.max(z))
                return weights / weights.sum()

            soft = softmax(z_student / tau) - softmax(z_teacher / tau)
            hard = softmax(z_student) - np.eye(len(z_student))[target]
            return alpha * tau * soft + (1 - alpha) * hard
    """,
    mistakes={
        "uphill": lambda s, t, y, tau, a: (
            a * tau * (_softmax(t / tau) - _softmax(s / tau))
            + (1 - a) * (np.eye(4)[y] - _softmax(s))
        ),
        "weights are swapped": lambda s, t, y, tau, a: (
            (1 - a) * tau * (_softmax(s / tau) - _softmax(t / tau))
            + a * (_softmax(s) - np.eye(4)[y])
        ),
        "τ² is missing": lambda s, t, y, tau, a: (
            a / tau * (_softmax(s / tau) - _softmax(t / tau))
            + (1 - a) * (_softmax(s) - np.eye(4)[y])
        ),
        "chain rule": lambda s, t, y, tau, a: (
            a * tau**2 * (_softmax(s / tau) - _softmax(t / tau))
            + (1 - a) * (_softmax(s) - np.eye(4)[y])
        ),
        "a factor is missing": lambda s, t, y, tau, a: (
            a * (_softmax(s / tau) - _softmax(t / tau))
            + (1 - a) * (_softmax(s) - np.eye(4)[y])
        ),
        "not softened": lambda s, t, y, tau, a: (
            a * tau * (_softmax(s / tau) - _softmax(t / tau))
            + (1 - a) * (_softmax(s / tau) - np.eye(4)[y])
        ),
        "same temperature": lambda s, t, y, tau, a: (
            a * tau * (_softmax(s) - _softmax(t / tau))
            + (1 - a) * (_softmax(s) - np.eye(4)[y])
        ),
        "add up to": lambda s, t, y, tau, a: a * tau * _softmax(s / tau) + 0 * t,
    },
)

EXERCISES = (FROM_CACHE, CLOSEST, PULL)
