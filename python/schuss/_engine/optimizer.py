"""Optimizer: parameters, their state and the way of a step."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import ref

import numpy as np

from schuss import _core
from schuss._engine.catalog import Rule
from schuss._engine.clip import ClipLike, read_clip
from schuss._engine.cost import Cost, cost
from schuss._engine.factors import Decay, LrScale, check_names, factors_of
from schuss._engine.group import Group, settled
from schuss._engine.plan import LeafPlan, plan_leaves
from schuss._engine.stored import read_storing

from . import state  # by the dot: it names this class in turn

_NONFINITE = ("skip", "raise", "apply")


class Optimizer(_core.Stepper):
    """Base of every optimizer; the classes beside it are made from the catalog, one a rule."""

    rule: ClassVar[Rule]

    def __init__(
        self,
        params: Any,
        *positional: Any,
        clip: ClipLike = None,
        nonfinite: str = "skip",
        accumulate: int = 1,
        scaler: _core.LossScaler | None = None,
        grad_norm: bool = False,
        slots: str = "float32",
        rounding: str = "nearest",
        seed: int = 0,
        master: bool = False,
        decay: Decay = None,
        lr_scale: LrScale = None,
        **hypers: Any,
    ) -> None:
        name = type(self).__name__
        if not hasattr(type(self), "rule"):
            raise TypeError("Optimizer() is the base of the rules' classes; make one of those, as schuss.AdamW(params)")
        if positional:
            raise TypeError(f"{name}() takes its settings by name, got {positional[0]!r}: {name}(params, lr=…)")
        for hyper in hypers:
            self.rule.index(hyper, name)
        if nonfinite not in _NONFINITE:
            raise ValueError(f"nonfinite is {nonfinite!r}, expected one of {', '.join(map(repr, _NONFINITE))}")
        accumulate = whole_number("accumulate", accumulate)
        if not isinstance(grad_norm, (bool, np.bool_)):
            raise TypeError(f"grad_norm is {grad_norm!r} ({type(grad_norm).__name__}), expected True or False")
        if scaler is not None and not isinstance(scaler, _core.LossScaler):
            raise TypeError(f"scaler is {scaler!r} ({type(scaler).__name__}), expected a schuss.LossScaler")
        storing = read_storing(slots, rounding, seed, master)
        if scaler is not None:
            _take_over(scaler, self)
        kind, limit = read_clip(clip)
        grad_norm = bool(grad_norm) or nonfinite == "raise"  # who asks for the error asks for what finds it
        self._session = _core.Session(
            self.rule.core,
            clip=kind,
            limit=limit,
            nonfinite=nonfinite,
            accumulate=accumulate,
            grad_norm=grad_norm,
            scaler=scaler,
            **storing,
        )
        self._defaults = self.rule.defaults | hypers
        self._accumulate = accumulate
        self._factors = {"decay": decay, "lr_scale": lr_scale}
        self._norm = kind.endswith("norm") or scaler is not None or grad_norm
        self.scaler = scaler
        self.groups: list[Group] = []
        self.names: list[str] = []
        self._skeletons: list[Any] = []
        self._leaf_of: list[int] = []
        self._leaves: list[LeafPlan] = []
        if hasattr(params, "__next__"):
            params = list(params)
        if _is_groups(params):
            self._grouped = True
            self._add_all(params)
        else:
            self._grouped = False
            self._add({"params": params}, prefix="", name="0", root="params", owner=None)
        check_names(self.names, **self._factors)

    def _add_all(self, groups: list[dict[str, Any]]) -> None:
        for index, group in enumerate(groups):
            if not isinstance(group, dict) or "params" not in group:
                raise ValueError(f"params[{index}]: a group without 'params', expected a dict that has them")
        for index, group in enumerate(groups):
            name = str(group.get("name", index))
            self._add(group, prefix=name, name=name, root=f"params[{index}]", owner=group)

    def _add(self, group: dict[str, Any], prefix: str, name: str, root: str, owner: Any) -> None:
        hypers = {
            key: value for key, value in group.items() if key not in ("params", "name", "frozen", "decay", "lr_scale")
        }
        for hyper in hypers:
            self.rule.index(hyper, type(self).__name__)
        if any(name == other.name for other in self.groups):
            raise ValueError(f"group {name!r}: there is a group of that name already")
        params = group["params"]
        if hasattr(params, "__next__"):
            params, owner = list(params), None
        met = self._session.begin_group(params, root)
        if not met:
            raise ValueError(f"{root}: no array in it, expected at least one")
        leaves = plan_leaves(met, prefix, self._leaves)
        values = self._defaults | hypers
        own = {key: group[key] for key in self._factors if key in group}
        factors = factors_of(self.rule, leaves, **self._factors | own)
        check_names([leaf.name for leaf in leaves], **own)
        committed = [(leaf.name, leaf.array, leaf.sources, its) for leaf, its in zip(leaves, factors, strict=True)]
        first = len(self.names)
        self._session.commit_group(params, owner, values, committed, self._grouped)
        self._leaves += leaves
        self._leaf_of += _leaf_of_sources(leaves, first)
        self.names += [leaf.name for leaf in leaves]
        self._skeletons.append(state.skeleton(params, iter(range(len(self._leaf_of) - len(met), len(self._leaf_of)))))
        span = range(first, len(self.names))
        self.groups.append(Group(self._session, self.rule, len(self.groups), name, span, settled(values)))
        if group.get("frozen"):
            self.groups[-1].frozen = True

    def add_group(self, group: dict[str, Any], name: str | None = None) -> Group:
        """Add parameters with hypers of their own; from now on gradients come as a list, one entry a group.

        Parameters
        ----------
        group : dict
            ``params``, and any hypers that differ from the optimizer's.
        name : str, optional
            Put before the names of its leaves; its number by default.

        Returns
        -------
        Group

        Raises
        ------
        TypeError, ValueError
            As when an optimizer is made; nothing is added then.
        """
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f'group is {type(group).__name__}, expected a dict with "params"')
        name = str(group.get("name", len(self.groups))) if name is None else name
        before, self._grouped = self._grouped, True
        try:
            self._add(group, prefix=name, name=name, root=f"params of group {name!r}", owner=group)
        except BaseException:
            self._grouped = before
            raise
        return self.groups[-1]

    @property
    def clock(self) -> int:
        """Count of real steps done."""
        return self._session.steps

    @property
    def pending(self) -> int:
        """Micro-gradients held since the last real step."""
        return self._session.pending

    @property
    def state(self) -> Any:
        """The slots: the parameters' nesting, with a dict of arrays (by slot name) for each leaf.

        Changing an array changes the state; but for slots in 8 bits, which come as decoded copies.
        """
        views = [state.mirror(one, lambda source: self._slots(self._leaf_of[source])) for one in self._skeletons]
        return views if self._grouped else views[0]

    def _slots(self, leaf: int) -> dict[str, Any]:
        slots = ((slot.name, self._session.slot(leaf, slot.name)) for slot in self.rule.slots)
        scalars = ((scalar.name, self._session.scalar(leaf, scalar.name)) for scalar in self.rule.scalars)
        master = self._session.master(leaf)
        return {name: array for name, array in (*slots, *scalars, ("master", master)) if array is not None}

    def freeze(self, *names: str) -> None:
        """Leave these leaves as they are from now on; a name may be a prefix: ``"encoder"``."""
        self._set_frozen(names, True)

    def unfreeze(self, *names: str) -> None:
        """Step these leaves again; their clocks go on from where they stood."""
        self._set_frozen(names, False)

    def _set_frozen(self, names: tuple[str, ...], frozen: bool) -> None:
        found = {
            name: [i for i, own in enumerate(self.names) if own == name or own.startswith(name + "/")] for name in names
        }
        for name, leaves in found.items():
            if not leaves:
                raise ValueError(f"no leaf is named {name!r} or lies under it; there are {', '.join(self.names)}")
        for leaves in found.values():
            for leaf in leaves:
                self._session.set_frozen(leaf, frozen)

    @contextmanager
    def _at_point(self) -> Iterator[None]:
        self._session.to_point()
        taken = False
        try:
            yield
            taken = True
        finally:  # left by an exception, no gradient was taken
            self._session.from_point(taken)

    def cost(self) -> Cost:
        """What a real step moves, keeps and computes, and the time predicted for it here.

        Returns
        -------
        Cost
            A dict: ``elements``, ``bytes_moved``, ``bytes_kept``, ``flops``, ``seconds``.
        """
        return cost(self.rule, self._session, self._accumulate, self._norm)

    def renew(self) -> None:
        """On a CUDA device, have the numbers of the next 4,096 steps there; on the CPU there is nothing to do.

        Ordinary steps see to that themselves. A step captured in a CUDA graph takes them from a table as its replays
        go on, schedules included: call this before capturing, and again before so many replays are through, or after
        a hyper was changed. It waits for the device once.

        Raises
        ------
        RuntimeError
            Where replays have run past the table: the steps beyond it were not taken.
        """
        if self._session.device is not None:
            self._session.renew()

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything a resumed run needs beside the parameters.

        Returns
        -------
        dict
            ``rule``, ``clock``, ``pending``, ``groups`` (hypers and schedules), ``leaves`` (by name: clock, slots) and
            ``scaler``. A hyper that is a Python callable is not in it: the loading optimizer brings its own.
        """
        return self._take_state(copy=True)

    def _take_state(self, copy: bool) -> dict[str, Any]:
        return state.take(self, copy)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take a state over, matched by the leaves' names.

        Parameters
        ----------
        saved : dict
            From `state_dict`.

        Raises
        ------
        TypeError, ValueError
            Where rule, names, shapes or types do not match, naming them; nothing is loaded then.
        """
        state.put(self, saved)

    def __repr__(self) -> str:
        first = self.groups[0]
        hypers = ", ".join(f"{name}={first[name]!r}" for name in first)
        return f"{type(self).__name__}({len(self.names)} leaves, {self._session.elements} elements, {hypers})"

    def __reduce__(self) -> Any:
        name = type(self).__name__
        raise TypeError(f"{name} cannot be pickled or copied: it points into your arrays; use state_dict()")


class PointOptimizer(Optimizer):
    """An optimizer whose rule can take its gradients elsewhere than at the parameters."""

    def lookahead(self) -> Any:
        """With this, the parameters stand at the look-ahead point: ``with opt.lookahead(): grads = …``.

        They come back exactly when the block ends, and the next step takes the look-ahead form.

        Examples
        --------
        >>> import numpy as np, schuss
        >>> p = np.array([1.0])
        >>> opt = schuss.Nesterov(p, lr=0.1, beta=0.5)
        >>> for _ in range(2):
        ...     with opt.lookahead():
        ...         grads = 2 * p
        ...     info = opt.step(grads)
        >>> info.step
        2
        """
        return self._at_point()


class AveragedOptimizer(Optimizer):
    """An optimizer whose model is used at an average of its parameters' path, not at the parameters."""

    def evaluation(self) -> Any:
        """With this, the parameters stand at the average: ``with opt.evaluation(): loss = …``.

        They come back exactly when the block ends.

        Examples
        --------
        >>> import numpy as np, schuss
        >>> p = np.array([1.0])
        >>> opt = schuss.ScheduleFreeSGD(p, lr=0.1)
        >>> for _ in range(50):
        ...     info = opt.step(2 * p)
        >>> with opt.evaluation():
        ...     bool(abs(p[0]) < 0.5)
        True
        """
        return self._at_point()


def _is_groups(params: Any) -> bool:
    return isinstance(params, list) and any(isinstance(one, dict) and "params" in one for one in params)


def whole_number(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), expected a whole number") from None
    if not 1 <= number < 2**31:
        raise ValueError(f"{name} is {number}, expected 1 or more, below 2^31")
    return number


def _take_over(scaler: Any, opt: Optimizer) -> None:
    owner = getattr(scaler, "_owner", None)
    if owner is not None and owner() is not None:
        raise ValueError("scaler is another optimizer's, expected one of its own: both would move its scale")
    scaler._owner = ref(opt)


def _leaf_of_sources(leaves: list[LeafPlan], first: int) -> list[int]:
    pairs = sorted((source, first + i) for i, leaf in enumerate(leaves) for source in leaf.sources)
    return [leaf for _, leaf in pairs]
