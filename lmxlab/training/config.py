"""Every setting of a training run, declared once.

The declarations (help, range, scale, live or restart) check the values, draw the
sliders, name the command line flags and fill the docs table.
"""

from dataclasses import dataclass

from lmxlab.core.fields import setting, validate

OPTIMIZERS = ("adamw", "lion", "adafactor", "sgd", "muon")
SCHEDULES = ("cosine", "linear", "constant", "wsd")
DECAY_SHAPES = ("linear", "cosine", "sqrt")


@dataclass(frozen=True)
class TrainConfig:
    """One training run, checked on construction.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range or not one of the choices. The message
            names the field, the value and what is legal.

    Example:
        >>> TrainConfig(max_steps=200, warmup_steps=20).optimizer
        'adamw'
        >>> TrainConfig(learning_rate=-1.0)
        Traceback (most recent call last):
            ...
        ValueError: TrainConfig.learning_rate must be in [0.0, 100.0], got -1.0
    """

    learning_rate: float = setting(
        3e-4,
        "Peak learning rate; the schedule multiplies it.",
        bounds=(0.0, 100.0),
        slider=(1e-5, 1e-1),
        scale="log",
        live=True,
    )
    weight_decay: float = setting(
        0.01,
        "Share of a weight that decays per update, times the learning rate. "
        "Skips biases, norms and embeddings.",
        bounds=(0.0, 100.0),
        slider=(0.0, 1.0),
        live=True,
    )
    warmup_steps: int = setting(
        100,
        "Updates over which the learning rate rises from 0 (wsd: from lr_floor).",
        bounds=(0, 10**9),
    )
    max_steps: int = setting(
        1000, "Updates in the whole run.", bounds=(1, 10**9), slider=(50, 2000)
    )
    batch_size: int = setting(
        32,
        "Rows in a micro-batch drawn from a dataset.",
        bounds=(1, 10**6),
        slider=(1, 128),
        scale="log",
    )
    grad_accumulation_steps: int = setting(
        1, "Micro-batches whose gradients make one update.", bounds=(1, 10**4)
    )
    max_grad_norm: float = setting(
        1.0,
        "Gradients longer than this are shortened to it; 0 switches clipping off.",
        bounds=(0.0, 1e9),
        slider=(0.0, 5.0),
        live=True,
    )
    eval_interval: int = setting(100, "Updates between evaluations.", bounds=(1, 10**9))
    log_interval: int = setting(
        10, "Updates between printed lines; 0 prints nothing.", bounds=(0, 10**9)
    )
    checkpoint_interval: int = setting(
        500,
        "Updates between checkpoints, once a callback writes them.",
        bounds=(1, 10**9),
    )
    optimizer: str = setting("adamw", "The update rule.", choices=OPTIMIZERS)
    lr_schedule: str = setting(
        "cosine", "How the learning rate moves after the warm-up.", choices=SCHEDULES
    )
    compile_step: bool = setting(True, "Trace the update once with mx.compile.")
    seed: int = setting(
        42, "Seed of dropout and of the order of the data.", bounds=(0, 2**63 - 1)
    )
    # Beyond the fields that every run has: the recipe that trains small models.
    beta1: float = setting(
        0.9,
        "Decay of the first moment (adamw, lion), or momentum (sgd, muon).",
        bounds=(0.0, 0.9999),
    )
    beta2: float = setting(
        0.95,
        "Decay of the second moment (adamw) or of the momentum (lion).",
        bounds=(0.0, 0.999999),
    )
    lr_floor: float = setting(
        0.0,
        "Where the schedule ends (all but constant), as a share of the learning rate.",
        bounds=(0.0, 1.0),
    )
    decay_fraction: float = setting(
        0.2, "Share of the run in which wsd decays.", bounds=(0.0, 1.0)
    )
    decay_shape: str = setting(
        "sqrt", "How wsd decays: linear, cosine or 1 - sqrt(x).", choices=DECAY_SHAPES
    )

    def __post_init__(self) -> None:
        """Check every value."""
        validate(self)


@dataclass(frozen=True)
class LossConfig:
    """The settings of the topics' losses and data: what a panel's knobs are made from.

    No function takes a whole one. Each takes the settings it needs, and while a run
    goes on they are read from arrays that a knob may change
    (:mod:`lmxlab.training.live`). A default is what a panel starts with, not always
    the function's: with the plain loss of :func:`~lmxlab.training.dpo.dpo_loss`, where
    ``nll_weight`` is 0, chosen texts may become less likely. ``label_smoothing`` stops
    at 0.49, since a slider reaches its ends and 0.5 itself is not legal.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range.

    Example:
        >>> LossConfig().beta
        0.1
    """

    beta: float = setting(
        0.1,
        "DPO: how dear it is to leave the reference.",
        bounds=(1e-9, 1e3),
        slider=(1e-2, 10.0),
        scale="log",
        live=True,
    )
    nll_weight: float = setting(
        1.0,
        "DPO: weight of the chosen completion's own cross-entropy; 0 is plain DPO.",
        bounds=(0.0, 1e3),
        slider=(0.0, 5.0),
        live=True,
    )
    label_smoothing: float = setting(
        0.0,
        "DPO: share of the pairs taken to be swapped.",
        bounds=(0.0, 0.49),
        live=True,
    )
    kl_weight: float = setting(
        0.1,
        "GRPO: weight of the distance to the reference (beta in the paper).",
        bounds=(0.0, 1e3),
        slider=(0.0, 1.0),
        live=True,
    )
    epsilon: float = setting(
        0.2,
        "GRPO: how far the ratio may leave 1 before it is clipped.",
        bounds=(0.0, 1.0),
        slider=(0.01, 1.0),
        live=True,
    )
    sampling_temperature: float = setting(
        1.0,
        "GRPO: divides the logits of rollouts; higher explores more.",
        bounds=(1e-3, 1e3),
        slider=(0.1, 3.0),
        live=True,
    )
    mtp_weight: float = setting(
        0.3,
        "MTP: weight of the extra heads' mean loss.",
        bounds=(0.0, 1e3),
        slider=(0.0, 1.0),
        live=True,
    )
    temperature: float = setting(
        4.0,
        "Distillation: divides both models' logits; higher makes targets softer.",
        bounds=(1e-3, 1e6),
        slider=(0.5, 20.0),
        scale="log",
        live=True,
    )
    alpha: float = setting(
        0.7,
        "Distillation: weight of the teacher, against the true targets.",
        bounds=(0.0, 1.0),
        live=True,
    )
    pace: float = setting(
        1.0,
        "Curriculum: how fast hard rows come in; 1 is as planned.",
        bounds=(1e-3, 1e3),
        slider=(0.1, 10.0),
        scale="log",
        live=True,
    )

    def __post_init__(self) -> None:
        """Check every value."""
        validate(self)
