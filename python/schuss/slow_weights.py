"""Lookahead: slow weights that follow the fast ones of any optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from schuss import _core
from schuss._engine import state
from schuss._engine.clip import number
from schuss._engine.optimizer import Optimizer, whole_number

_SLOT = "lookahead.slow"


class Lookahead:
    """Every `k` real steps the slow weights go a share `alpha` of the way to the parameters, which return to them.

    Steps that were skipped, and micro-gradients, do not count. Slots stay as they are.

    Parameters
    ----------
    optimizer : Optimizer
        Steps the parameters, on the CPU; step it through this object alone.
    k : int, default 5
        Real steps between two pulls.
    alpha : float, default 0.5
        Share of the way, above 0 and at most 1.

    Attributes
    ----------
    optimizer : Optimizer
    k : int
    alpha : float
    since : int
        Real steps since the last pull.

    Raises
    ------
    TypeError, ValueError
        For settings out of range and for parameters on a CUDA device.

    References
    ----------
    Zhang et al. 2019, arXiv 1907.08610.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> w = np.zeros(1)
    >>> ahead = schuss.Lookahead(schuss.SGD(w, lr=1.0), k=2, alpha=0.5)
    >>> for _ in range(2):
    ...     info = ahead.step(-np.ones(1))
    >>> w.tolist()
    [1.0]
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        if not isinstance(optimizer, Optimizer):
            kind = type(optimizer).__name__
            raise TypeError(f"optimizer is {optimizer!r} ({kind}), expected one as schuss.AdamW(params)")
        if optimizer._session.device is not None:
            raise TypeError(
                "Lookahead keeps its slow weights on the CPU, but the parameters lie on a CUDA device; "
                "interpolate there between steps with their own library, as torch.Tensor.lerp_"
            )
        if any(optimizer._session.has_master(leaf) for leaf in range(len(optimizer.names))):
            raise ValueError(
                "optimizer has float32 masters, which Lookahead does not pull; expected one without master=True"
            )
        self.optimizer = optimizer
        self.k, self.alpha = _settings(k, alpha)
        self.since = 0
        self._shadow = _core.Shadow()
        self._follow()

    def _follow(self) -> None:
        """Slow weights for the leaves that were added; they begin where those are."""
        new = self.optimizer._leaves[self._shadow.leaves :]
        if new:
            self._shadow.add([(leaf.array, leaf.where) for leaf in new])

    def step(self, grads: Any) -> _core.StepInfo:
        """Step the optimizer, and pull where `k` real steps are done.

        Parameters
        ----------
        grads : same structure as the parameters

        Returns
        -------
        StepInfo
            The optimizer's.
        """
        self._check_fast()
        self._follow()
        before = self.optimizer.clock
        info = self.optimizer.step(grads)
        self._count(before)
        return info

    def flush(self) -> _core.StepInfo | None:
        """Take the step with the micro-gradients held so far, as the optimizer's ``flush``."""
        self._check_fast()
        self._follow()
        before = self.optimizer.clock
        info = self.optimizer.flush()
        self._count(before)
        return info

    def _count(self, before: int) -> None:
        self.since += self.optimizer.clock - before
        if self.since >= self.k:
            self._shadow.pull(self.alpha)
            self.since = 0

    def _check_fast(self) -> None:
        if self._shadow.shown:
            raise RuntimeError("the parameters are the slow weights; leave the `with` block first")

    @contextmanager
    def slow(self) -> Iterator[None]:
        """With this, the parameters are the slow weights: ``with ahead.slow(): evaluate()``.

        They come back exactly when the block ends; what was written into them meanwhile is lost.

        Examples
        --------
        >>> import numpy as np, schuss
        >>> w = np.zeros(1)
        >>> ahead = schuss.Lookahead(schuss.SGD(w, lr=1.0))
        >>> info = ahead.step(-np.ones(1))
        >>> with ahead.slow():
        ...     print(w.tolist())
        [0.0]
        >>> w.tolist()
        [1.0]
        """
        self._check_fast()
        self._follow()
        self._shadow.show()
        try:
            yield
        finally:
            self._shadow.hide()

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything a resumed run needs beside the parameters.

        Returns
        -------
        dict
            The optimizer's, with the slow weights among each leaf's slots, and ``lookahead``: k, alpha, since.
        """
        return self._take_state(copy=True)

    def _take_state(self, copy: bool) -> dict[str, Any]:
        self._follow()
        saved = state.take(self.optimizer, copy)
        for leaf, name in enumerate(self.optimizer.names):
            slow = self._shadow.slow(leaf)
            saved["leaves"][name]["slots"][_SLOT] = slow.copy() if copy else slow
        saved["lookahead"] = {"k": self.k, "alpha": self.alpha, "since": self.since}
        return saved

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take a state over, matched by the leaves' names.

        Parameters
        ----------
        saved : dict
            From `state_dict`.

        Raises
        ------
        TypeError, ValueError
            Where it does not match, naming what; nothing is loaded then.
        """
        self._check_fast()
        self._follow()
        own = saved.get("lookahead") if isinstance(saved, dict) else None
        if not isinstance(own, dict) or any(key not in own for key in ("k", "alpha", "since")):
            raise ValueError("the state holds no slow weights, expected a dict from Lookahead.state_dict()")
        k, alpha = _settings(own["k"], own["alpha"])
        since = own["since"]
        if isinstance(since, bool) or not isinstance(since, int) or not 0 <= since < k:
            raise ValueError(f"since is {since!r} in the state, expected a whole number below k={k}")
        slow = {name: leaf["slots"][_SLOT] for name, leaf in saved["leaves"].items() if _SLOT in leaf["slots"]}
        for leaf, name in enumerate(self.optimizer.names):
            _check_slow(name, slow.get(name), self._shadow.slow(leaf))
        rest = {name: {**leaf, "slots": _without(leaf["slots"])} for name, leaf in saved["leaves"].items()}
        self.optimizer.load_state_dict({**saved, "leaves": rest})
        for leaf, name in enumerate(self.optimizer.names):
            np.copyto(self._shadow.slow(leaf), slow[name])
        self.k, self.alpha, self.since = k, alpha, since

    def __repr__(self) -> str:
        return f"Lookahead({self.optimizer!r}, k={self.k}, alpha={self.alpha})"


def _settings(k: Any, alpha: Any) -> tuple[int, float]:
    share = number(alpha, "alpha")
    if share > 1:
        raise ValueError(f"alpha is {share!r}, expected a number above 0 and at most 1")
    return whole_number("k", k), share


def _without(slots: dict[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in slots.items() if name != _SLOT}


def _check_slow(name: str, saved: Any, own: Any) -> None:
    if not isinstance(saved, np.ndarray):
        raise ValueError(f"{name}: the state has no slow weights")
    if saved.shape != own.shape:
        raise ValueError(f"{name}: the slow weights have shape {saved.shape} in the state, expected {own.shape}")
    if saved.dtype != own.dtype:
        raise TypeError(f"{name}: the slow weights are {saved.dtype} in the state, expected {own.dtype}")
