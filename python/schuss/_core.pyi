"""The extension module: engine, catalog, schedules and loss scaling. The packages above it are what users call."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Literal, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

__version__: str
levels: list[str]
thread_runtime: str
elements_per_thread: int
elementary: ModuleType
instructions: list[str]
number_operations: list[str]
program_limits: dict[str, int]

def start() -> str: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def catalog() -> list[dict[str, Any]]: ...
def slots_kept(rule: str | OwnRule, hypers: dict[str, Any], step: int, /) -> list[str]: ...
def make_schedule(kind: str, arguments: dict[str, Any]) -> Schedule: ...
def ties(arrays: list[tuple[Any, str]]) -> list[int]: ...
def global_norm(grads: Any, /) -> float: ...
def clip_global_norm(grads: Any, max_norm: float, /) -> float: ...
def clip_leaf_norm(grads: Any, max_norm: float, /) -> list[tuple[str, float]]: ...
def clip_value(grads: Any, limit: float, /) -> None: ...
def centralize(grads: Any, axes: str, /) -> None: ...
def clip_adaptive(params: Any, grads: Any, limit: float, eps: float, axes: str, /) -> None: ...
def add_noise(grads: Any, deviation: float, seed: int, step: int, /) -> None: ...
def apply(rule: str | OwnRule, arrays: tuple[Any, ...], step: int, hypers: dict[str, Any]) -> None: ...
def exact_root(terms: NDArray[np.float64]) -> float: ...
def prepare(rule: str | OwnRule, format: int, mask: int, values: list[float], clock: int) -> bytes: ...
def clip_coef(norm: float, limit: float) -> float: ...
def rule_mask(rule: str | OwnRule, values: list[float]) -> int: ...
def lazy_step_info(fetch: Callable[[], tuple[int, float, float | None, float, bool]], pending: int) -> StepInfo: ...
def set_stream_hook(
    stream: Callable[[int, bool], int], wait: Callable[[int, int, bool], None], device_of: Callable[[int], int]
) -> None: ...
def stream(reads: int, writes: int, elements: int, repeats: int) -> list[float]: ...

class OwnRule:
    """A rule that is not in the catalog, from what the parser makes of its text."""

    def __init__(
        self,
        name: str,
        key: str,
        summary: str,
        paper: str,
        hypers: Sequence[tuple[str, float, str, str]],
        slots: Sequence[tuple[str, float, str]],
        steps: Sequence[tuple[int, int, int, int, float]],
        numbers: Sequence[int],
        code: Sequence[Sequence[int]],
        literals: Sequence[float],
        operations: tuple[int, ...],
    ) -> None: ...
    @property
    def facts(self) -> dict[str, Any]: ...

class Schedule:
    """A pure function of the step."""

    def __init__(self, value: _ScheduleLike) -> None: ...
    @overload
    def __call__(self, step: int) -> float: ...
    @overload
    def __call__(self, step: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float64]: ...
    @overload
    def __call__(self, step: ArrayLike) -> Any: ...
    @property
    def kind(self) -> str: ...
    @property
    def holds_function(self) -> bool: ...
    def to_dict(self, functions: Literal["refuse", "null"] = "refuse") -> dict[str, Any]: ...
    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Schedule: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any], /) -> None: ...

_ScheduleLike = Schedule | float | Callable[[int], float]

class LossScaler:
    """The scale and the counts that move it."""

    def __init__(
        self,
        scale: float = 65536.0,
        growth: float = 2.0,
        backoff: float = 0.5,
        growth_interval: int = 2000,
        floor: float = 1.0,
        ceiling: float = 16777216.0,
        hysteresis: int = 1,
        dynamic: bool = True,
    ) -> None: ...
    @property
    def scale(self) -> float: ...
    @property
    def growth(self) -> float: ...
    @property
    def backoff(self) -> float: ...
    @property
    def growth_interval(self) -> int: ...
    @property
    def floor(self) -> float: ...
    @property
    def ceiling(self) -> float: ...
    @property
    def hysteresis(self) -> int: ...
    @property
    def dynamic(self) -> bool: ...
    @property
    def good_steps(self) -> int: ...
    @property
    def hysteresis_left(self) -> int: ...
    def update(self, overflow: bool) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any], /) -> None: ...

@final
class StepInfo:
    """What a step did."""

    @property
    def step(self) -> int:
        """Real steps done, this one included."""
    @property
    def lr(self) -> float:
        """Learning rate of the first group in this step."""
    @property
    def grad_norm(self) -> float | None:
        """Norm of the unscaled mean gradient before clipping; None where nothing asked for it."""
    @property
    def clip_coef(self) -> float:
        """Factor that clipping put on the gradients; 1.0: none."""
    @property
    def skipped(self) -> bool:
        """Whether a norm that is not finite kept the step from being taken."""
    @property
    def pending(self) -> int:
        """Micro-gradients held since the last real step."""

class Shadow:
    """A second set of weights beside parameters on the CPU."""

    def __init__(self) -> None: ...
    def add(self, leaves: list[tuple[Any, str]], /) -> None: ...
    def pull(self, alpha: float, /) -> None: ...
    def show(self) -> None: ...
    def hide(self) -> None: ...
    def slow(self, leaf: int, /) -> Any: ...
    @property
    def leaves(self) -> int: ...
    @property
    def shown(self) -> bool: ...

class Stepper:
    """Base of the optimizers."""

    _session: Session

    def step(self, grads: Any) -> StepInfo:
        """Apply one step in place.

        Parameters
        ----------
        grads : same structure as the parameters
            Gradients, each of its parameter's shape; None leaves a parameter, its slots and its clock alone.

        Returns
        -------
        StepInfo
            ``.step``, ``.lr``, ``.grad_norm``, ``.clip_coef``, ``.skipped``, ``.pending``.

        Raises
        ------
        TypeError, ValueError
            Naming the leaf, before anything is written.
        FloatingPointError
            With ``nonfinite="raise"``, for a norm that is not finite; nothing is written.
        """
    def flush(self) -> StepInfo | None:
        """Take the real step with the micro-gradients held so far, as their mean; None where there are none."""

class Session:
    """An engine with the Python objects around it."""

    def __init__(
        self,
        rule: str | OwnRule,
        *,
        clip: str,
        limit: float,
        nonfinite: str,
        accumulate: int,
        grad_norm: bool,
        scaler: LossScaler | None,
        slots: str = "float32",
        stochastic: bool = False,
        seed: int = 0,
        master: bool = False,
    ) -> None: ...
    steps: int
    @property
    def pending(self) -> int: ...
    @property
    def leaves(self) -> int: ...
    @property
    def elements(self) -> int: ...
    def begin_group(self, tree: Any, root: str, /) -> list[tuple[tuple[Any, ...], Any, str]]: ...
    def commit_group(
        self,
        tree: Any,
        group: Any,
        hypers: dict[str, Any],
        leaves: list[tuple[str, Any, list[int], list[float]]],
        grouped: bool,
        /,
    ) -> None: ...
    def set_hyper(self, group: int, index: int, value: Any, /) -> None: ...
    def set_hypers(self, group: int, values: dict[str, Any], /) -> None: ...
    def set_frozen(self, leaf: int, frozen: bool, /) -> None: ...
    def frozen(self, leaf: int, /) -> bool: ...
    def set_factors(self, leaf: int, factors: list[float], /) -> None: ...
    def factors(self, leaf: int, /) -> list[float]: ...
    def slot(self, leaf: int, name: str, /) -> Any | None:
        """An array over it, NumPy's or on the device CuPy's; a decoded copy where it is stored in 8 bits."""
    def slot_format(self, leaf: int, name: str, /) -> Literal["float64", "float32", "bfloat16", "8bit"]:
        """How it is stored, whether it is kept or not."""
    def stored(self, leaf: int, /) -> dict[str, Any]:
        """Every array of its state as it lies in memory: codes and scales where slots are stored in 8 bits."""
    def master(self, leaf: int, /) -> NDArray[np.float32] | None: ...
    def has_master(self, leaf: int, /) -> bool: ...
    def accumulator(self, leaf: int, /) -> Any | None:
        """Likewise."""
    def accumulated(self, leaf: int, /) -> bool: ...
    def shape(self, leaf: int, /) -> tuple[int, ...]: ...
    def dtype(self, leaf: int, /) -> str: ...
    def clock(self, leaf: int, /) -> int: ...
    def set_clock(self, leaf: int, clock: int, /) -> None: ...
    def set_pending(self, pending: int, held: list[bool], /) -> None: ...
    def to_point(self) -> None: ...
    def from_point(self, gradient_taken: bool, /) -> None: ...
    def check_idle(self) -> None: ...

    # For the engine of a device, which steps the leaves.
    @property
    def device(self) -> int | None:
        """CUDA's index; None: the CPU."""
    @property
    def rule_name(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]:
        """``clip``, ``limit``, ``nonfinite``, ``accumulate``, ``needs_norm``, ``has_scaler``."""
    @property
    def scaler(self) -> LossScaler | None: ...
    @property
    def has_torch(self) -> bool: ...
    @property
    def calls_python(self) -> bool:
        """Whether a hyper is a Python function, or a schedule that holds one."""
    @property
    def gradient_pointers(self) -> NDArray[np.uint64]:
        """Of the step under way, one a source; the same memory while no group is added."""
    @property
    def gradient_formats(self) -> NDArray[np.int8]:
        """0 float64, 1 float32, 2 bfloat16; -1: None was given."""
    @property
    def strided_sources(self) -> list[int]: ...
    def gradient_strides(self, source: int, /) -> tuple[int, ...] | None:
        """In bytes; None: C order."""
    def frozen_leaves(self) -> np.ndarray[Any, np.dtype[np.bool_]]: ...
    def leaf_name(self, leaf: int, /) -> str: ...
    def leaf_facts(
        self,
    ) -> list[tuple[int, int, tuple[int, ...], tuple[int, ...] | None, int, int, bool, int]]:
        """(pointer, format, shape, strides or None, group, sources, frozen, set of factors) of every leaf."""
    def mask(self, group: int, /) -> int:
        """A bit for each slot kept."""
    def renew(self) -> None:
        """Have the numbers of thousands of steps to come on the device; nothing on the CPU."""
    def slot_initials(self, group: int, /) -> list[float]: ...
    def fill(
        self,
        group: int,
        format: int,
        mask: int,
        lookahead: bool | None,
        behind: int,
        first: int,
        entries: Any,
        factors: int = 0,
    ) -> int:
        """Write the numbers of the steps from `first` on; gives how many, fewer where a hyper is refused."""
