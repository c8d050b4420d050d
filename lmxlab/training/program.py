"""Compiled functions over live state, kept under what their traces froze.

``mx.compile`` replays a trace. It sees new values of the captured arrays, and nothing
else: mode flags, frozen weights and Python numbers stay as they were when traced. So
each function is kept under all of these, and is traced again when one has changed.
"""

from collections.abc import Callable
import re
import threading
from typing import Any

from lmxlab.rehearsal import compile_ahead
from lmxlab.training.state import RandomStream, arrays, places
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten


class Programs:
    """Runs functions that change a model and its optimizer in place.

    Args:
        model: Captured whole.
        optimizer: Captured whole; its state must be initialised.
        extra: Another container of arrays to capture, such as live settings.
        about: What the functions compute, such as the name of the loss. Where another
            process has seen the like, it is taken for granted that their kernels exist.
        compiled: Whether to compile; otherwise each call runs the function itself.

    Example:
        >>> model, rule = nn.Linear(2, 1), optim.SGD(0.1)
        >>> rule.init(model.trainable_parameters())
        >>> run = Programs(model, rule, {}, compiled=True)
        >>> ones = mx.ones((1, 2))
        >>> _, first = run("call", lambda x: model(x), (ones,), RandomStream(0))
        >>> _, again = run("call", lambda x: model(x), (ones,), RandomStream(0))
        >>> first, again
        (True, False)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        extra: Any,
        about: str = "",
        compiled: bool = True,
    ) -> None:
        """Nothing is traced yet."""
        self.model = model
        self.optimizer = optimizer
        self.extra = extra
        self.compiled = compiled
        self.about = about
        self._programs: dict[Any, Callable[..., Any]] = {}
        self._seen: set[Any] = set()
        self._thread = threading.get_ident()
        self.refresh()

    def __call__(
        self,
        name: str,
        body: Callable[..., Any],
        args: tuple[Any, ...],
        stream: RandomStream,
        buffers: Any = None,
    ) -> tuple[Any, bool]:
        """Run a function, or the trace of it that fits the present modes and shapes.

        An exception while tracing leaves tracers in place of the weights, and one in
        an eager step half of an update: either is undone.

        Args:
            name: The function's name in errors, and its key.
            body: Takes arrays; reads and writes the captured containers.
            args: Trees of arrays.
            stream: Where randomness is drawn from.
            buffers: One more container to capture for this function.

        Returns:
            What the function returned, and whether it was traced in this call.

        Raises:
            RuntimeError: If this is not the thread in which it was built.
            Exception: What ``body`` raises, with a note that names the shapes.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "this Trainer was built in another thread; MLX keeps its streams and "
                "compiled functions per thread, so build it where you train"
            )
        key = (name, *self._layout(), *self._frozen())
        signature = (key, *[(a.shape, a.dtype) for a in arrays(args)])
        first = signature not in self._seen
        if self.compiled and not first:
            with stream:
                return self._programs[key](*args), False
        saved = self.snapshot()
        if self.compiled:
            # A reference made by copy.deepcopy shares its arrays with the model, and
            # MLX cannot tell such a constant from the captured array that it also is.
            for container, inner in places(self.model):
                container[inner] = mx.array(container[inner])
        if key not in self._programs:
            state = [self.model.state, self.optimizer.state, mx.random.state]
            state += [self.extra, buffers or {}]
            self._programs[key] = (
                mx.compile(body, inputs=state, outputs=state) if self.compiled else body
            )
        try:
            if self.compiled:
                self._rehearse(name, self._programs[key], args, stream, buffers)
            with stream:
                result = self._programs[key](*args)
        except BaseException as error:
            self.restore(saved)
            shapes = ", ".join(str(a.shape) for a in arrays(args))
            error.add_note(f"In the program {name!r} with arrays of shape {shapes}.")
            raise
        self._seen.add(signature)
        return result, first

    def _rehearse(
        self,
        name: str,
        program: Callable[..., Any],
        args: tuple[Any, ...],
        stream: RandomStream,
        buffers: Any,
    ) -> None:
        """Have a program's kernels compiled together, if its like never ran here."""
        given = [self.snapshot(), args, buffers or {}, stream.key]

        def compute() -> None:
            with stream:
                result = program(*args)
            mx.eval(result, self.snapshot(), buffers or {})

        captured: Any = tree_flatten([self.model.state, self.optimizer.state])
        kinds = sorted(
            {
                (re.sub(r"\d+", "", path), array.ndim, str(array.dtype))
                for path, array in captured
                if isinstance(array, mx.array)
            }
        )
        config = re.sub(r"\d+", "", repr(getattr(self.model, "config", "")))
        about = [type(self.model), config, type(self.optimizer), self.about, kinds]
        shapes = [(array.ndim, array.dtype) for array in arrays(args)]
        mx.eval(given)  # a copy of this process cannot compute what is left undone
        compile_ahead(repr((name, about, shapes, len(arrays(buffers or {})))), compute)

    def refresh(self) -> None:
        """Look again where the arrays are; needed only after adding modules."""
        self._modes = [vars(module) for module in self.model.modules()]
        self._rules = getattr(self.optimizer, "optimizers", [self.optimizer])
        # A weight that is trained from now on may have no moments yet.
        self.optimizer.init(self.model.trainable_parameters())
        self._places = places([self.model, self.optimizer.state, self.extra])
        self._known = self._layout()

    def snapshot(self) -> list[mx.array]:
        """Return every captured array: references, no copies, in a few microseconds."""
        if self._layout() != self._known:
            self.refresh()
        return [container[key] for container, key in self._places]

    def restore(self, saved: list[mx.array]) -> None:
        """Write the arrays of a snapshot back to their places.

        Args:
            saved: What :meth:`snapshot` returned.
        """
        for (container, key), array in zip(self._places, saved, strict=True):
            container[key] = array

    def _layout(self) -> tuple[Any, ...]:
        """Which arrays a program reads and writes."""
        return (
            tuple([frozenset(m["_no_grad"]) or None for m in self._modes]),
            tuple([id(rule.state) for rule in self._rules]),  # rebound by a naive load
        )

    def _frozen(self) -> tuple[Any, ...]:
        """What a trace keeps as it was besides: modes and the rules' Python numbers."""
        return (
            tuple([mode["_training"] for mode in self._modes]),
            tuple(
                tuple(value) if isinstance(value, list) else value
                for rule in self._rules
                for name, value in vars(rule).items()
                if isinstance(value, (bool, int, float)) or name == "betas"
            ),
        )
