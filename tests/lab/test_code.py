"""Copy as code: a fresh interpreter gives the numbers of this one, bit for bit."""

import json
import linecache
import os
from pathlib import Path
import subprocess
import sys

import lmxlab
from lmxlab.lab.code import Recipe, random_key, recipe
from lmxlab.lab.panel import build
import mlx.core as mx
import pytest

# The panel does this: it opens a run, and turns a knob between two steps.
PANEL = """
from lmxlab.lab.panel import build
import lmxlab.lab

class Panel:
    def __init__(self, experiment):
        self.experiment = experiment

    def run(self, steps=None, changes=(), **settings):
        run = build(self.experiment, settings)
        trainer = run.trainer()
        trainer.lag = 0
        for record in trainer.stream(run.train_data, run.eval_data):
            for step, name, value in changes:
                if step == record["step"]:
                    trainer.set_live(name, value)
            if record["step"] == steps:
                break
        return trainer

lmxlab.lab.Panel = Panel
"""
REPORT = """
import json
print(json.dumps([record["loss"].hex() for record in result.history]))
"""
IMPORTS = """\
import lmxlab
from lmxlab.core import BlockConfig
from lmxlab.core.config import ModelConfig
from lmxlab.data.story import StoryWorld
from lmxlab.lab import Run
from lmxlab.models import LanguageModel
from lmxlab.training.config import TrainConfig
import math
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as opt
"""
DROPOUT = """\
def experiment(learning_rate=1e-2, dropout=0.5, width=16, max_steps=8):
    mx.random.seed(3)
    block = BlockConfig(d_model=width, n_heads=2, dropout=dropout)
    model = LanguageModel(ModelConfig(block=block, vocab_size=47, n_layers=1))
    config = TrainConfig(learning_rate, max_steps=max_steps, warmup_steps=2,
                         batch_size=4, eval_interval=4)
    return Run(model, config, StoryWorld(), StoryWorld().eval_batches(8, 1))
"""
HELPERS = [
    IMPORTS,
    "from dataclasses import dataclass\nVOCABULARY, DEPTH = 8, 2\nSCALE = math.inf",
    "world = StoryWorld()\nSIZES = {'narrow': 8, 'wide': (16, [4])}",
    """\
@dataclass(frozen=True)
class Shape:
    width: int = 8
    rate: float = 0.25

SHAPE = Shape(width=SIZES['narrow'])
""",
    """\
def twice(function):
    def both(value, times=DEPTH):
        return function(function(value)) if times else value
    return both

class Net(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.layers = [nn.Embedding(world.vocab_size, shape.width), make(shape)]
        self.out = nn.Linear(shape.width, world.vocab_size)

    def __call__(self, tokens):
        x = self.layers[0](tokens)
        return self.out(gelu(self.layers[1](x)))

gelu = lambda x: clip(nn.gelu(x))
""",
    """\
@twice
def clip(x):
    return mx.minimum(x, SCALE)

def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)

def make(shape):
    return nn.Dropout(shape.rate if even(DEPTH) else 0.0)

def loss(model, tokens, targets):
    logits = model(tokens)
    value = nn.losses.cross_entropy(logits, targets, reduction='mean')
    return value, {'perplexity': mx.exp(value)}
""",
    """\
STEPS = 6

def experiment(learning_rate=1e-2, shape=SHAPE, max_steps=STEPS):
    config = TrainConfig(learning_rate, max_steps=max_steps, warmup_steps=0, seed=5)
    return Run(Net(shape), config, world.batches(4, seed=1), loss_fn=loss)
""",
]
CHANGES = [(2, "learning_rate", 0.1), (4, "max_grad_norm", 0.25)]


@pytest.fixture
def notebook():
    """``notebook(cells)``: run them as a notebook would; return its variables."""
    registered = []

    def run(cells, number=0):
        variables = {"__name__": "__main__", "In": ["", *cells]}
        for cell in cells:
            name = f"<cell {number}.{len(registered)}>"
            lines = cell.splitlines(keepends=True)
            linecache.cache[name] = (len(cell), None, lines, name)
            registered.append(name)
            exec(compile(cell, name, "exec"), variables)
        return variables

    yield run
    for name in registered:
        del linecache.cache[name]


def here(experiment, settings, steps=None, changes=()):
    variables = {}
    exec(PANEL.replace("lmxlab.lab.Panel = Panel", ""), variables)
    trainer = variables["Panel"](experiment).run(steps, changes, **settings)
    return [record["loss"].hex() for record in trainer.history]


def there(script, tmp_path):
    """Run a script in a fresh interpreter and an empty folder; return its losses."""
    cpu = "import lmxlab\nimport mlx.core\nmlx.core.set_default_device(mlx.core.cpu)\n"
    file = tmp_path / "script.py"
    file.write_text(script.replace("import lmxlab\n", cpu + PANEL, 1) + REPORT)
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(lmxlab.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + script
    return json.loads(done.stdout.splitlines()[-1])


def as_code(experiment, settings, steps=None, changes=(), *, random=None, strict=False):
    """Return the script; if strict, nothing may be missing in it."""
    made = recipe(experiment, settings, random)
    if strict and made.missing:
        raise ValueError(f"the script lacks {'; '.join(made.missing)}")
    return made.script(steps, changes)


def test_dropout_and_live_changes_come_back_bit_for_bit(notebook, tmp_path):
    experiment = notebook([IMPORTS, DROPOUT])["experiment"]
    settings = {"learning_rate": 0.1 + 0.2, "dropout": 0.25, "max_steps": 8}
    script = as_code(experiment, settings, 7, CHANGES, strict=True)
    mine = here(experiment, settings, 7, CHANGES)
    assert len(set(mine)) == 7
    assert there(script, tmp_path) == mine
    assert here(experiment, settings, 7) != mine


def test_the_notebooks_own_functions_and_values_come_along(notebook, tmp_path):
    variables = notebook(HELPERS)
    experiment, settings = variables["experiment"], {"shape": variables["SHAPE"]}
    mx.random.seed(11)
    mx.eval(mx.random.uniform(shape=(3,)))  # weights depend on what was drawn before
    key = random_key()
    script = as_code(experiment, settings, random=key, strict=True)
    assert there(script, tmp_path) == here(experiment, settings)


def test_values_are_as_they_were_when_the_run_began(notebook):
    experiment = notebook([IMPORTS, "RATE = 1\ndef experiment(): return RATE"])[
        "experiment"
    ]
    before = recipe(experiment, {})
    experiment.__globals__["RATE"] = 2
    assert "RATE = 1\n" in before.script()
    assert "RATE = 2\n" in recipe(experiment, {}).script()


def test_only_what_is_used_is_written(notebook):
    script = as_code(notebook([IMPORTS, "model = 3", DROPOUT])["experiment"], {})
    assert "StoryWorld" in script
    assert "model = 3" not in script  # the function has a model of its own
    assert "math" not in script


def test_lmxlab_is_imported_before_mlx(notebook):
    script = as_code(notebook(HELPERS)["experiment"], {})
    imports = [s for s in script.splitlines() if s.startswith(("import", "from"))]
    assert imports[0] == "import lmxlab"


def test_what_only_memory_holds_is_named(notebook):
    cells = [
        IMPORTS,
        "teacher = nn.Linear(2, 2)\nif True:\n    words = object()",
        "def experiment(pick=None): return teacher, words",
    ]
    experiment = notebook(cells)["experiment"]
    settings = {"pick": object()}
    top = as_code(experiment, settings).partition("import lmxlab")[0]
    assert "# It lacks words (object)." in top
    assert "# It lacks the weights of teacher" in top
    assert "# It lacks the setting pick (object)." in top
    with pytest.raises(ValueError, match=r"words \(object\)"):
        as_code(experiment, settings, strict=True)


def test_a_value_made_anew_by_its_line_is_named(notebook):
    cells = [IMPORTS, "world = StoryWorld()", "def experiment(): return world"]
    script = as_code(notebook(cells)["experiment"], {}, strict=True)
    if "world = StoryWorld()" in script:
        assert "# Made anew by the notebook's own lines: world." in script


def test_the_last_line_that_made_a_value_counts(notebook):
    cells = ["box = object()", "box = str.upper", "def experiment(): return box"]
    assert "box = str.upper" in as_code(notebook(cells)["experiment"], {})
    cells = ["box = [object()]", "box += [1]", "def experiment(): return box"]
    with pytest.raises(ValueError, match="box"):
        as_code(notebook(cells)["experiment"], {}, strict=True)


def test_a_lambda_is_written_as_the_line_that_named_it(notebook):
    variables = notebook(
        [IMPORTS, "halve = lambda x: x / 2\nexperiment = lambda: halve"]
    )
    script = as_code(variables["experiment"], {}, strict=True)
    assert "halve = lambda x: x / 2\nexperiment = lambda: halve" in script
    with pytest.raises(ValueError, match="experiment"):
        as_code(lambda: None, {}, strict=True)


def test_closures_come_along_and_two_meanings_are_named(notebook):
    cell = """\
def helper(depth):
    def inner(): return depth
    return inner

def factory(depth, other):
    def experiment(): return depth, other()
    return experiment

depth = 0
other = 7
"""
    variables = notebook([cell])
    factory, helper = variables["factory"], variables["helper"]
    script = as_code(factory(3, helper(3)), {}, strict=True)
    assert "depth = 3\n" in script
    assert "other = inner\n" in script
    with pytest.raises(ValueError, match="one meaning of 'depth', which has two"):
        as_code(factory(3, helper(4)), {}, strict=True)
    with pytest.raises(ValueError, match=r"lacks other \(function\)"):
        as_code(factory(3, lambda: 0), {}, strict=True)


def test_without_the_list_of_cells_the_files_of_functions_will_do(notebook):
    variables = notebook([IMPORTS, "box = nn.Identity\nthing = slice(1)",
                          "def experiment(): return box, thing"])  # fmt: skip
    del variables["In"]
    script = as_code(variables["experiment"], {}, strict=True)
    assert "thing = slice(1)" in script
    assert "from mlx.nn import Identity as box" in script


def test_postponed_annotations_stay_postponed(notebook):
    first = "from __future__ import annotations"
    cell = f"{first}\ndef experiment(x: Unknown = 1): return x"
    script = as_code(notebook([cell])["experiment"], {}, strict=True)
    statements = [line for line in script.splitlines() if not line.startswith("#")]
    assert statements[0] == first


def test_numbers_survive_to_the_last_bit():
    settings = {
        "a": 0.1 + 0.2, "b": float("nan"), "c": -float("inf"), "d": (1,),
        "e": mx.array([0.1, 2]), "f": mx.bfloat16, "g": frozenset([None]),
    }  # fmt: skip
    made = recipe(lambda **settings: None, settings)
    namespace = {}
    exec("\n".join(["import lmxlab", *made.imports]), namespace)
    back = {name: eval(text, namespace) for name, text in made.arguments.items()}
    assert back["a"] == 0.1 + 0.2
    assert back["b"] != back["b"]
    assert (back["c"], back["d"], back["f"]) == (-float("inf"), (1,), mx.bfloat16)
    assert mx.array_equal(back["e"], settings["e"])
    assert back["g"] == {None}


def test_a_recipe_is_plain_data():
    made = recipe(build, {"settings": {"x": 1.5}}, random=7)
    again = Recipe(**json.loads(json.dumps(vars(made))))
    assert again.script(3, [[1, "beta", 0.5]]) == made.script(3, [(1, "beta", 0.5)])
    assert "mlx.core.random.seed(7)\nresult = " in again.script(3)
