"""Which rule to begin with: the advice of the textbooks as a ranked answer with its reasons."""

from __future__ import annotations

from typing import Any, NamedTuple

from schuss import _core
from schuss._engine.catalog import Rule, rules

MODELS = ("dense", "convolutional", "recurrent", "reinforcement", "transformer", "embedding")
_LARGE_BATCH = 1024  # samples, from where warmup is advised for every adaptive rule


class Choice(NamedTuple):
    """A rule to begin with."""

    rule: str  # the class: "AdamW"
    hypers: dict[str, Any]
    reasons: tuple[str, ...]
    bytes_a_parameter: int  # of its slots, beside a float32 parameter


class _Advice(NamedTuple):
    function: str
    hypers: dict[str, Any]
    fits: dict[str, tuple[int, str]]  # by model: points out of 10, and why
    otherwise: tuple[int, str]


_ADAPTIVE = "a rate of its own for each weight needs little tuning"
_ADVICE = (
    _Advice(
        "adamw",
        {"lr": 1e-3, "weight_decay": 0.01},
        {
            "transformer": (10, "the standard for attention: gradients differ in scale between layers"),
            "dense": (9, "the first choice where nothing speaks against it"),
            "convolutional": (8, "good at once; tuned SGD may generalise better"),
            "recurrent": (7, "works, and clips well"),
        },
        (7, _ADAPTIVE),
    ),
    _Advice(
        "sgd",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        {
            "convolutional": (9, "the best generalisation of convolutional networks where there is time to tune"),
            "dense": (6, "good with a tuned rate and schedule"),
            "transformer": (2, "one rate for all weights learns attention slowly"),
            "recurrent": (4, "needs clipping and a tuned rate"),
            "reinforcement": (3, "targets move faster than one rate can follow"),
        },
        (4, "needs a tuned rate and schedule"),
    ),
    _Advice(
        "rmsprop",
        {"lr": 1e-3, "alpha": 0.99},
        {
            "recurrent": (9, "follows gradients whose scale changes with time"),
            "reinforcement": (9, "forgets old squares, so it follows moving targets; DQN and A3C were trained by it"),
        },
        (5, "Adam without momentum or correction"),
    ),
    _Advice(
        "adam",
        {"lr": 1e-3},
        {
            "reinforcement": (8, "common where weights are not decayed"),
            "recurrent": (6, "works where weights are not decayed"),
            "dense": (7, "as AdamW, without decay of weights"),
        },
        (5, "L2 in its gradient is distorted by the adaptive scale: AdamW decays better"),
    ),
    _Advice(
        "adagrad",
        {"lr": 0.01},
        {"embedding": (9, "rare features keep a large rate, frequent ones are stilled")},
        (2, "its rate only falls, which stops long runs early"),
    ),
    _Advice(
        "lion",
        {"lr": 1e-4, "weight_decay": 0.1},
        {"transformer": (7, "one slot where AdamW has two, close to it at large batches")},
        (4, "one slot; wants a rate 3 to 10 times smaller than AdamW's and a larger decay"),
    ),
)


def choose(
    model: str | None = None,
    *,
    sparse: bool = False,
    memory: float | None = None,
    batch: int | None = None,
) -> list[Choice]:
    """Rules to begin with, best first, each with its reasons and starting hypers.

    Advice, not measurement: the chapter of a textbook in a table. Tune the rate with a range test.

    Parameters
    ----------
    model : {"dense", "convolutional", "recurrent", "reinforcement", "transformer", "embedding"}, optional
        What is trained; nothing is known of it by default.
    sparse : bool
        Whether most of a gradient is zero: word vectors, recommenders. Default False.
    memory : float, optional
        Bytes a parameter that slots may take beside float32 parameters; no bound by default.
    batch : int, optional
        Samples a step.

    Returns
    -------
    list of Choice
        ``.rule`` (the class's name), ``.hypers``, ``.reasons``, ``.bytes_a_parameter``. Never empty: some rule keeps
        no slot.

    Raises
    ------
    TypeError, ValueError
        For a model that is not known, a memory below 0 or a batch below 1.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> best = schuss.choose("transformer", batch=4096)[0]
    >>> best.rule, best.hypers
    ('AdamW', {'lr': 0.0003, 'weight_decay': 0.01})
    >>> opt = getattr(schuss, best.rule)(np.zeros(3), **best.hypers)
    """
    _check(model, sparse, memory, batch)
    ranked: list[tuple[float, Choice]] = []
    for advice in _ADVICE:
        rule = rules().get(advice.function)
        if rule is None:
            continue
        fitting = _fitting_memory(rule, dict(advice.hypers), memory)
        if fitting is None:
            continue
        hypers, kept, saved = fitting
        points, why = _points(advice, model, sparse)
        reasons = [why, *_of_batch(rule, model, batch), *saved]
        if model == "transformer" and rule.function in ("adamw", "adam"):
            hypers["lr"] = 3e-4
        ranked.append((points, Choice(rule.name, hypers, tuple(reasons), kept)))
    return [choice for _, choice in sorted(ranked, key=lambda pair: -pair[0])]


def _check(model: str | None, sparse: bool, memory: float | None, batch: int | None) -> None:
    if model is not None and model not in MODELS:
        raise ValueError(f"model is {model!r}, expected one of {', '.join(map(repr, MODELS))}")
    if not isinstance(sparse, bool):
        raise TypeError(f"sparse is {sparse!r} ({type(sparse).__name__}), expected True or False")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, (int, float))):
        raise TypeError(f"memory is {memory!r} ({type(memory).__name__}), expected bytes a parameter")
    if memory is not None and not memory >= 0:
        raise ValueError(f"memory is {memory!r}, expected 0 or more bytes a parameter")
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int)):
        raise TypeError(f"batch is {batch!r} ({type(batch).__name__}), expected a whole number of samples")
    if batch is not None and batch < 1:
        raise ValueError(f"batch is {batch}, expected 1 or more samples")


def _points(advice: _Advice, model: str | None, sparse: bool) -> tuple[float, str]:
    points, why = advice.fits.get(model or "dense", advice.otherwise)
    if not sparse:
        return points, why
    sparsely, reason = advice.fits.get("embedding", advice.otherwise)
    return (sparsely + 1, reason) if advice.function == "adagrad" else ((points + sparsely) / 2, why)


def _fitting_memory(
    rule: Rule, hypers: dict[str, Any], memory: float | None
) -> tuple[dict[str, Any], int, list[str]] | None:
    """The hypers that keep within the memory, the bytes they keep, and what that cost; None where none do."""
    kept = _bytes(rule, hypers)
    if memory is None or kept <= memory:
        return hypers, kept, []
    if "momentum" in hypers:
        plain = {name: value for name, value in hypers.items() if name not in ("momentum", "nesterov")}
        if _bytes(rule, plain) <= memory:
            return plain, _bytes(rule, plain), [f"without momentum: its slot would take {kept} bytes a parameter"]
    return None


def _bytes(rule: Rule, hypers: dict[str, Any]) -> int:
    return 4 * len(_core.slots_kept(rule.function, rule.defaults | hypers, 0))


def _of_batch(rule: Rule, model: str | None, batch: int | None) -> list[str]:
    adaptive = rule.traits["second_moment"] != "none"
    if model == "transformer":
        return ["warm the rate up: transformers need it"]
    if batch is not None and batch >= _LARGE_BATCH and adaptive:
        return ["warm the rate up: at large batches the first steps of adaptive rules are too large"]
    if batch is not None and batch >= _LARGE_BATCH:
        return ["scale the rate with the batch, and warm it up"]
    return []
