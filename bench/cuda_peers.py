"""The contestants on a CUDA device: Schuss and its peers, on the same arrays, each with slots of its own."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

from .cases import FLOAT, KNOWN, TITLES
from .cuda_cases import FORMATS, Arrays, Case
from .cuda_handwritten import ByHand
from .peers import OURS, Absent, schuss_class

REPLAYS = 4000  # of a graph, until its numbers are renewed: they last for 4,096
SCALE = 1.0  # of the loss, where one is divided out: torch does it in place, step after step
NEVER = 10**9  # steps until it grows
DEVICE = "cuda"  # by torch's name


class Contestant(Protocol):
    """Queues steps on the current stream, or on ``stream`` where it has one of its own."""

    bytes_moved: int

    def run(self, k: int) -> None: ...


class Schuss:
    """``opt.step(grads)`` on CuPy arrays."""

    def __init__(self, case: Case, arrays: Arrays, of_torch: bool = False) -> None:
        try:
            params, self.grads = arrays.for_torch() if of_torch else arrays.for_cupy()
        except ImportError as error:
            raise Absent(f"bfloat16 in CuPy: {error}") from None
        settings: dict[str, Any] = {"clip": case.clip, **case.rule.hypers}
        if case.scaled:
            settings["scaler"] = importlib.import_module("schuss").LossScaler(scale=SCALE, growth_interval=NEVER)
        self.optimizer = schuss_class(case.rule.name)(params, **settings)
        self.bytes_moved = case.bytes_moved

    def run(self, k: int) -> None:
        step, grads = self.optimizer.step, self.grads
        for _ in range(k):
            step(grads)


def on_torch(case: Case, arrays: Arrays) -> Contestant:
    """Schuss on torch tensors over the same memory."""
    torch_module()
    return Schuss(case, arrays, of_torch=True)


class Graph(Schuss):
    """The same step, captured once in a CUDA graph and replayed."""

    def __init__(self, case: Case, arrays: Arrays) -> None:
        super().__init__(case, arrays)
        cuda = arrays.cupy.cuda
        self.stream = cuda.Stream(non_blocking=True)
        cuda.runtime.deviceSynchronize()
        with self.stream:
            self.optimizer.step(self.grads)
            self.refresh(0)
            self.stream.begin_capture()
            self.optimizer.step(self.grads)
            self.graph = self.stream.end_capture()

    def refresh(self, k: int) -> None:
        """Before k replays: have numbers for them."""
        self.left = getattr(self, "left", 0) - k
        if self.left <= 0:
            with self.stream:
                self.optimizer.renew()
            self.left = REPLAYS - k

    def run(self, k: int) -> None:
        launch, stream = self.graph.launch, self.stream
        for _ in range(k):
            launch(stream)


def torch_module() -> Any:
    """torch with CUDA.

    Raises
    ------
    Absent
        Where there is none.
    """
    if importlib.util.find_spec("torch") is None:
        raise Absent("torch is not installed")
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise Absent("this torch has no CUDA")
    return torch


class Torch:
    """``optimizer.step()``, after ``clip_grad_norm_`` and a ``GradScaler`` where the row has them."""

    def __init__(self, case: Case, arrays: Arrays, make: Callable[..., Any], **form: bool) -> None:
        self.torch = torch = torch_module()
        self.clip = case.clip
        params, grads = arrays.for_torch()
        self.tensors = [torch.nn.Parameter(p) for p in params]
        for tensor, g in zip(self.tensors, grads, strict=True):
            tensor.grad = g
        try:
            self.optimizer = make(self.tensors, **case.rule.hypers, **form)
        except (RuntimeError, TypeError, ValueError) as error:
            raise Absent(f"torch: {error}") from None
        self.scaler = None
        if case.scaled:
            self.scaler = torch.amp.GradScaler(DEVICE, init_scale=SCALE, growth_interval=NEVER)
            self.scaler.scale(torch.zeros((), device=DEVICE))  # which makes its tensors
        self.bytes_moved = case.bytes_with(FORMATS[case.format])

    def run(self, k: int) -> None:
        step, tensors, scaler = self.optimizer.step, self.tensors, self.scaler
        clip_grad_norm_ = self.torch.nn.utils.clip_grad_norm_
        with self.torch.no_grad():
            for _ in range(k):
                if scaler is not None:
                    scaler.unscale_(self.optimizer)
                if self.clip is not None:
                    clip_grad_norm_(tensors, self.clip, foreach=True)
                if scaler is None:
                    step()
                else:
                    scaler.step(self.optimizer)
                    scaler.update()


def torch_form(foreach: bool, fused: bool) -> Callable[[Case, Arrays], Contestant]:
    """Return what makes ``torch.optim``'s own in a form; RMSprop does not know the word fused."""

    def build(case: Case, arrays: Arrays) -> Contestant:
        if case.rule.name not in KNOWN:
            raise Absent(f"torch has no {case.rule.name} in this benchmark")
        if case.rule.name == "rmsprop" and fused:
            raise Absent("torch has no fused RMSprop")
        form = {"foreach": foreach} if case.rule.name == "rmsprop" else {"foreach": foreach, "fused": fused}
        return Torch(case, arrays, getattr(torch_module().optim, TITLES[case.rule.name]), **form)

    return build


class Bitsandbytes(Torch):
    """Its optimizers with states of 32 bits."""

    def __init__(self, case: Case, arrays: Arrays) -> None:
        make = getattr(installed("bitsandbytes").optim, TITLES.get(case.rule.name, ""), None)
        if make is None or case.scaled:
            raise Absent(f"bitsandbytes has no {case.rule.name} in this benchmark")
        super().__init__(case, arrays, lambda params, **given: make(params, optim_bits=32, **given))
        self.bytes_moved = case.bytes_with(FLOAT)


APEX = {"adamw": "FusedAdam", "adam": "FusedAdam", "sgd": "FusedSGD", "adagrad": "FusedAdagrad"}


class Apex(Torch):
    """Its fused optimizers."""

    def __init__(self, case: Case, arrays: Arrays) -> None:
        optimizers = installed("apex.optimizers")
        if case.rule.name not in APEX or case.scaled:
            raise Absent(f"apex has no {case.rule.name} in this benchmark")
        make = getattr(optimizers, APEX[case.rule.name])
        form = {"adam_w_mode": case.rule.name == "adamw"} if APEX[case.rule.name] == "FusedAdam" else {}
        super().__init__(case, arrays, make, **form)
        self.bytes_moved = case.bytes_with(FLOAT)


def installed(name: str) -> Any:
    """Another library's module.

    Raises
    ------
    Absent
        Where it is not installed or does not load.
    """
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise Absent(f"{package} is not installed")
    torch_module()
    try:
        return importlib.import_module(name)
    except Exception as error:  # what a foreign library raises is not known
        raise Absent(f"{name} does not load: {error}") from None


BUILDERS: dict[str, Callable[[Case, Arrays], Contestant]] = {
    OURS: Schuss,
    "torch-fused": torch_form(foreach=False, fused=True),
    "torch-foreach": torch_form(foreach=True, fused=False),
    "cupy": ByHand,
    "bitsandbytes": Bitsandbytes,
    "apex": Apex,
}
PEERS = tuple(name for name in BUILDERS if name != OURS)
# Schuss in other ways, beside the row: no peer is held against them.
WAYS: dict[str, Callable[[Case, Arrays], Contestant]] = {"schuss-graph": Graph, "schuss-torch": on_torch}


def build(name: str, case: Case, arrays: Arrays) -> Contestant:
    """Return a contestant.

    Raises
    ------
    Absent
        If it cannot take part; the message says why.
    """
    maker = BUILDERS.get(name) or WAYS[name]
    try:
        contestant = maker(case, arrays)
        contestant.run(1)  # slots are made, kernels compiled
        arrays.cupy.cuda.runtime.deviceSynchronize()
    except Absent:
        raise
    except Exception as error:  # out of memory, or a foreign library's own
        if name in (OURS, *WAYS) and not isinstance(error, MemoryError):
            raise
        raise Absent(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no word'}") from None
    return contestant
