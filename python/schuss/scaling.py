"""Loss scaling for low-precision gradients: multiply the loss, divide the gradients, skip what
overflows."""

from __future__ import annotations

from typing import Any

from . import _core

__all__ = ["LossScaler"]


class LossScaler(_core.LossScaler):
    """The factor that keeps small gradients from vanishing in low precision.

    The loss is multiplied by ``scaler.scale`` before the backward pass. An optimizer made with
    ``scaler=scaler`` divides the gradients by it before anything else is done to them, skips the
    step when they hold an infinity or NaN, and moves the scale: down on overflow, up after
    `growth_interval` good steps in a row. A skipped step changes no parameter, slot, clock or
    schedule.

    A scaler belongs to one optimizer, whose steps move it; a second optimizer takes one of its own.

    Parameters
    ----------
    scale : float, default 2**16
        The first scale, from `floor` to `ceiling`. Powers of two divide out exactly.
    growth : float, default 2
        At least 1: multiplies the scale after `growth_interval` good steps.
    backoff : float, default 0.5
        Between 0 and 1: multiplies the scale on overflow.
    growth_interval : int, default 2000
        Good steps in a row before the scale grows.
    floor, ceiling : float, default 1 and 2**24
        The scale stays between them.
    hysteresis : int, default 1
        The overflow in a row that backs off: 1 is the first, 2 lets one pass. A good step renews it
        (DeepSpeed's ``consecutive_hysteresis``).
    dynamic : bool, default True
        False: the scale never changes.

    Attributes
    ----------
    good_steps : int
        Good steps since the last overflow or growth.
    hysteresis_left : int
        Overflows until the scale backs off, the next one counted.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it is and what was expected.

    Notes
    -----
    With ``floor`` and ``ceiling`` out of reach and ``hysteresis=1`` this is torch's ``GradScaler``,
    which has neither.

    Examples
    --------
    >>> scaler = LossScaler(scale=1024.0, growth_interval=2)
    >>> scaler.update(overflow=True)
    >>> scaler.scale
    512.0
    >>> scaler.update(overflow=False)
    >>> scaler.update(overflow=False)
    >>> scaler.scale
    1024.0
    """

    def __init__(
        self,
        scale: float = 2.0**16,
        growth: float = 2.0,
        backoff: float = 0.5,
        growth_interval: int = 2000,
        floor: float = 1.0,
        ceiling: float = 2.0**24,
        hysteresis: int = 1,
        dynamic: bool = True,
    ) -> None:
        super().__init__(scale, growth, backoff, growth_interval, floor, ceiling, hysteresis, dynamic)

    @classmethod
    def static(cls, scale: float) -> LossScaler:
        """A scale that never changes; steps that overflow are still skipped.

        >>> LossScaler.static(128.0)
        LossScaler.static(128.0)
        """
        return cls(scale, dynamic=False)

    @property
    def scale(self) -> float:
        """What the loss is multiplied by; for an optimizer on a CUDA device reading it waits for steps under way."""
        self._pull()
        return super().scale

    @property
    def good_steps(self) -> int:
        """Good steps since the last overflow or growth."""
        self._pull()
        return super().good_steps

    @property
    def hysteresis_left(self) -> int:
        """Overflows until the scale backs off, the next one counted."""
        self._pull()
        return super().hysteresis_left

    def __repr__(self) -> str:
        self._pull()
        return super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> Any:  # to pickle or copy it: by its numbers alone
        return _made, (type(self), self.state_dict())

    def on_device(self) -> Any:
        """The scale as an array of one float32 on the optimizer's CUDA device, to multiply a loss by without waiting.

        It is the device's own: each step moves it.

        Returns
        -------
        cupy.ndarray
            Of shape ().

        Raises
        ------
        RuntimeError
            Where no optimizer on a CUDA device was made with this scaler.
        """
        engine = self._engine()
        if engine is None:
            raise RuntimeError("on_device(): this scaler is of no optimizer on a CUDA device; read scaler.scale")
        return engine.loss_scale()

    def _engine(self) -> Any:
        engine = getattr(self, "_on_device", None)
        return None if engine is None else engine()

    def _pull(self) -> None:
        engine = self._engine()
        if engine is not None:
            engine.pull_scaler()

    def _push(self) -> None:
        engine = self._engine()
        if engine is not None:
            engine.push_scaler()

    def update(self, overflow: bool) -> None:
        """One step's outcome. An optimizer with ``scaler=`` calls this itself.

        Parameters
        ----------
        overflow : bool
            Whether the gradients held an infinity or NaN.
        """
        self._pull()
        super().update(overflow)
        self._push()

    def state_dict(self) -> dict[str, Any]:
        """All settings and counts, as plain numbers.

        >>> LossScaler().state_dict()["scale"]
        65536.0
        """
        self._pull()
        return super().state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises
        ------
        TypeError, ValueError
            If a value is missing, unknown or out of range; nothing is changed then.
        """
        self._pull()
        super().load_state_dict(state)
        self._push()


def _made(kind: type[LossScaler], state: dict[str, Any]) -> LossScaler:
    scaler = kind()
    scaler.load_state_dict(state)
    return scaler
