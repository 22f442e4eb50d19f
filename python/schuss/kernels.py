"""The text of the CUDA kernels, for reading and for embedding in other programs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from schuss import _core
from schuss._engine.catalog import device_rules, rules
from schuss._engine.cuda import source

__all__ = ["KernelSource", "kernel_source"]


class KernelSource(NamedTuple):
    """A kernel as NVRTC is given it; ``str()`` of it is the `text`.

    `text` includes nothing and compiles as it stands, with the `options`; `entry` is the kernel's name in it.
    It is launched in blocks of `block` threads, as many as the device holds, and takes one argument, the structure
    ``schuss::Launch`` by value, whose layout the text states. `slots` are the names of the state arrays that it
    keeps, in order.

    Examples
    --------
    >>> import schuss
    >>> kernel = schuss.kernel_source("sgd", momentum=0.9)
    >>> kernel.entry, kernel.block, kernel.slots
    ('schuss_kernel', 256, ('v',))
    """

    text: str
    options: tuple[str, ...]
    entry: str
    block: int
    slots: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


def kernel_source(
    rule: str | None,
    dtype: Any = "float32",
    grad_dtype: Any = None,
    arch: str = "sm_90",
    kind: str = "map",
    **hypers: Any,
) -> KernelSource:
    """The exact text and options of a CUDA kernel.

    Parameters
    ----------
    rule : str or None
        A rule's name in `schuss.rules`; None for a kernel that serves every rule.
    dtype : str or dtype, default "float32"
        Of the parameters: float64, float32 or bfloat16.
    grad_dtype : str or dtype, optional
        Of the gradients; as `dtype` unless given.
    arch : str, default "sm_90"
        What to compile for; it stands among the options.
    kind : str, default "map"
        ``"map"`` is the update itself and ``"point"`` the way to the look-ahead point, of a rule that has one. For
        every rule alike: ``"sum"`` and ``"finish"``, the gradient norm; ``"take"``, accumulation; ``"scale"``,
        clipping in place; ``"restore"``, the way back from the look-ahead point.
    hypers : float, bool, schedule or callable
        Hypers of the rule, by name. They decide which slots the kernel keeps, as ``amsgrad=True`` does; the numbers
        themselves are given to it at each launch.

    Returns
    -------
    KernelSource
        ``.text``, ``.options``, ``.entry``, ``.block`` and ``.slots``.

    Raises
    ------
    TypeError, ValueError
        Naming what there is no kernel for, and which there are.

    Examples
    --------
    >>> import schuss
    >>> kernel = schuss.kernel_source("adamw", dtype="bfloat16", grad_dtype="float32", amsgrad=True)
    >>> kernel.slots
    ('m', 'v', 'v_max')
    >>> kernel.options[:3]
    ('--gpu-architecture=sm_90', '--std=c++17', '--fmad=false')
    >>> "schuss::Variant<7u, schuss::bf16, float>" in str(kernel)
    True
    """
    if kind in source.OF_ALL:
        if rule is not None or hypers:
            raise ValueError(f"the kernel {kind!r} is the same for every rule: rule is {rule!r}, expected None")
        return KernelSource(source.text(kind), source.options(arch), source.ENTRY, source.BLOCK, ())
    mask = 0
    if rule in device_rules():
        known = rules()[rule]
        for name in hypers:
            known.index(name, "kernel_source")
        keeps = _core.slots_kept(rule, known.defaults | hypers, 1)
        mask = sum(1 << index for index, slot in enumerate(known.slots) if slot.name in keeps)
    p = _format(dtype)
    variant = (mask, p, p if grad_dtype is None else _format(grad_dtype))
    text = source.text(kind, rule, [variant])
    assert rule is not None
    return KernelSource(text, source.options(arch), source.ENTRY, source.BLOCK, source.kept(rules()[rule], mask))


def _format(dtype: Any) -> str:
    return dtype if isinstance(dtype, str) else np.dtype(dtype).name
