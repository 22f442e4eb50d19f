"""The contestants: Schuss and its peers, each behind the same three methods.

A contestant gets the same values in arrays of its own and is put in its best conditions:
64-byte aligned arrays on huge pages where the kernel gives them, torch's switch for huge pages on,
as many threads as the rest, no autograd, and for optax arrays that live in JAX, donated to ``jit``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from .cases import KNOWN, TITLES, Case, Rule
from .handwritten import Blocked, Naive

Arrays = Sequence[np.ndarray]


class Absent(Exception):
    """The contestant cannot take part in a row; the message says why."""


class Contestant(Protocol):
    """Parameters, gradients and optimizer of one contestant in one row."""

    def run(self, k: int) -> None:
        """Take k steps and return when the last is finished."""
        ...

    def params(self) -> list[np.ndarray]:
        """Return the parameters as NumPy arrays."""
        ...


def catalog_rule(name: str) -> Rule:
    """Return the rule to run under a name of the catalog, known to the peers or not.

    Raises
    ------
    ValueError
        If neither the peers nor the catalog know the name.
    """
    if name in KNOWN:
        return KNOWN[name]
    try:
        rules = importlib.import_module("schuss").rules()
    except ImportError:
        rules = {}
    if name not in rules:
        known = ", ".join(dict.fromkeys((*KNOWN, *rules)))
        raise ValueError(f"unknown rule {name!r}; it is one of {known}")
    one = np.zeros(1, np.float32)
    slots = len(schuss_class(name)(one).state)
    return Rule(name, slots=slots)


def schuss_class(rule: str) -> Any:
    """Return the optimizer class of a rule: ``"adamw"`` gives ``schuss.AdamW``."""
    schuss = importlib.import_module("schuss")
    for name, value in vars(schuss).items():
        if isinstance(value, type) and name.lower() == rule:
            return value
    raise Absent(f"schuss has no class for {rule!r}")


class Schuss:
    """``opt.step(grads)``."""

    def __init__(self, case: Case, params: Arrays, grads: Arrays):
        self.leaves = list(params)
        hypers = dict(case.rule.hypers)
        tree = self.leaves[0] if case.single else self.leaves
        self.grads = grads[0] if case.single else list(grads)
        self.optimizer = schuss_class(case.rule.name)(tree, clip=case.clip, **hypers)

    def run(self, k: int) -> None:
        step, grads = self.optimizer.step, self.grads
        for _ in range(k):
            step(grads)

    def params(self) -> list[np.ndarray]:
        return self.leaves


class Torch:
    """``optimizer.step()`` with ``.grad`` set, after ``clip_grad_norm_`` where the row clips."""

    def __init__(self, case: Case, params: Arrays, grads: Arrays, **form: bool):
        torch = self.torch = importlib.import_module("torch")
        if case.rule.name not in KNOWN:
            raise Absent(f"torch has no {case.rule.name} in this benchmark")
        if case.rule.name == "rmsprop" and form.pop("fused"):  # RMSprop does not know the word
            raise Absent("torch has no fused RMSprop")
        self.clip = case.clip
        self.tensors = [torch.nn.Parameter(torch.from_numpy(p)) for p in params]
        for tensor, g in zip(self.tensors, grads, strict=True):
            tensor.grad = torch.from_numpy(g)
        rule = getattr(torch.optim, TITLES[case.rule.name])
        self.optimizer = rule(self.tensors, **case.rule.hypers, **form)

    def run(self, k: int) -> None:
        step, clip, tensors = self.optimizer.step, self.clip, self.tensors
        with self.torch.no_grad():
            if clip is None:
                for _ in range(k):
                    step()
            else:
                clip_grad_norm_ = self.torch.nn.utils.clip_grad_norm_
                for _ in range(k):
                    clip_grad_norm_(tensors, clip, foreach=True)  # measured faster than False
                    step()

    def params(self) -> list[np.ndarray]:
        return [tensor.detach().numpy() for tensor in self.tensors]


class Optax:
    """``update`` and ``apply_updates`` in one ``jit``, parameters and state donated.

    Every step is waited for on one of its outputs: all of them come from one executable, and this
    was measured to be the fastest way of waiting.
    """

    MOST_LEAVES = 2_000  # XLA compiles 1,000 leaves in 17 s, and more than in proportion

    def __init__(self, case: Case, params: Arrays, grads: Arrays):
        if len(params) > self.MOST_LEAVES:
            raise Absent(f"XLA takes minutes to compile {len(params):,} leaves")
        jax, optax = (importlib.import_module(name) for name in ("jax", "optax"))
        transform = self.transform(optax, case.rule)
        if case.clip is not None:
            transform = optax.chain(optax.clip_by_global_norm(case.clip), transform)

        def step(p: Any, state: Any, g: Any) -> Any:
            updates, state = transform.update(g, state, p)
            return optax.apply_updates(p, updates), state

        self.step = jax.jit(step, donate_argnums=(0, 1))
        # A donated array must be JAX's own, not a view of NumPy's memory.
        self.leaves = [jax.numpy.array(p, copy=True) for p in params]
        self.grads = [jax.numpy.array(g, copy=True) for g in grads]
        if case.single:
            self.leaves, self.grads = self.leaves[0], self.grads[0]
        self.state = transform.init(self.leaves)
        self.block_until_ready = jax.block_until_ready
        self.block_until_ready((self.leaves, self.grads, self.state))

    @staticmethod
    def transform(optax: Any, rule: Rule) -> Any:
        h = dict(rule.hypers)
        lr = h.pop("lr", 1e-3)
        if rule.name in ("adam", "adamw"):
            return getattr(optax, rule.name)(lr, **h)
        if rule.name == "sgd":
            return optax.sgd(lr, **h)
        if rule.name == "rmsprop":
            return optax.rmsprop(lr, decay=0.99, eps=1e-8, eps_in_sqrt=False)
        if rule.name == "adagrad":
            raise Absent("optax has eps inside the root only: another formula")
        raise Absent(f"optax has no {rule.name} in this benchmark")

    def run(self, k: int) -> None:
        step, p, state, g = self.step, self.leaves, self.state, self.grads
        for _ in range(k):
            p, state = step(p, state, g)
            (p[0] if isinstance(p, list) else p).block_until_ready()
        self.leaves, self.state = p, state

    def params(self) -> list[np.ndarray]:
        leaves = self.leaves if isinstance(self.leaves, list) else [self.leaves]
        return [np.asarray(leaf) for leaf in leaves]


def handwritten(form: type[Blocked] | type[Naive]) -> Callable[..., Contestant]:
    def build(case: Case, params: Arrays, grads: Arrays) -> Contestant:
        if not hasattr(form, case.rule.name):
            raise Absent(f"no {case.rule.name} by hand in this benchmark")
        return form(case, params, grads)

    return build


def torch_form(**form: bool) -> Callable[..., Contestant]:
    return lambda case, params, grads: Torch(case, params, grads, **form)


OURS = "schuss"
BUILDERS: dict[str, Callable[[Case, Arrays, Arrays], Contestant]] = {
    OURS: Schuss,
    "torch-fused": torch_form(foreach=False, fused=True),
    "torch-foreach": torch_form(foreach=True, fused=False),
    "torch-loop": torch_form(foreach=False, fused=False),
    "optax": Optax,
    "numpy": handwritten(Blocked),
    "numpy-naive": handwritten(Naive),
}
PEERS = tuple(name for name in BUILDERS if name != OURS)
PACKAGES = {"torch": ("torch",), "optax": ("jax", "optax"), "numpy": (), OURS: (OURS,)}


def missing(name: str) -> str | None:
    """Return why a contestant cannot run here at all, or None."""
    for package in PACKAGES[name.split("-")[0]]:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    return None


def prepare(threads: int) -> None:
    """Give every library `threads` threads; call it before torch and JAX are imported.

    The process is confined to as many processors, which is what XLA's thread pool goes by.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if 0 < threads < len(allowed):
        os.sched_setaffinity(0, allowed[:threads])
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch: huge pages for its own tensors
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if missing(OURS) is None:
        importlib.import_module(OURS).set_num_threads(threads)
    if missing("torch") is None:
        importlib.import_module("torch").set_num_threads(threads)


def build(name: str, case: Case, params: Arrays, grads: Arrays) -> Contestant:
    """Return a contestant on these arrays, which become its own.

    Raises
    ------
    Absent
        If its package is not installed or has nothing of the kind.
    """
    reason = missing(name)
    if reason:
        raise Absent(reason)
    return BUILDERS[name](case, params, grads)
