"""The rules as Python sees them: read once from the core, never written here."""

from __future__ import annotations

from typing import Any, NamedTuple

from schuss import _core
from schuss._engine import wording


class Hyper(NamedTuple):
    """A setting of a rule."""

    name: str
    default: float | bool
    range: str
    doc: str


class Slot(NamedTuple):
    """A state array beside a parameter."""

    name: str
    always: bool
    doc: str


class Scalar(NamedTuple):
    """A number of a leaf, or of all leaves, that a rule moves once a step."""

    name: str
    doc: str


class Rule(NamedTuple):
    """What the catalog says of an update formula."""

    name: str
    function: str
    year: int
    summary: str
    paper: str
    traits: dict[str, str]
    hypers: tuple[Hyper, ...]
    slots: tuple[Slot, ...]
    scalars: tuple[Scalar, ...]
    forms: dict[str, dict[str, float | bool]]
    has_point: bool
    operations: tuple[dict[str, int], ...]
    facts: dict[str, Any]
    core: Any  # what the core calls it by: its plain function, or the handle of one of the user's own
    digest: str = ""  # of the text of one of the user's own
    header: str = ""  # likewise: its struct, for kernels

    @property
    def sums(self) -> int:
        """How many sums it measures over a leaf before it steps."""
        return self.facts["sums"]

    @property
    def defaults(self) -> dict[str, float | bool]:
        return {hyper.name: hyper.default for hyper in self.hypers}

    @property
    def on_device(self) -> bool:
        """Whether CUDA kernels step it: they do not measure whole leaves or move scalars yet."""
        return not (self.sums or self.scalars)

    @property
    def hyper_names(self) -> str:
        return ", ".join(hyper.name for hyper in self.hypers)

    def index(self, hyper: str, caller: str | None = None) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Position of a hyper; a TypeError that lists them all where there is none of that name."""
        for position, one in enumerate(self.hypers):
            if one.name == hyper:
                return position
        raise TypeError(f"{caller or self.name}() got an unknown hyper {hyper!r}; it takes {self.hyper_names}")


def _read(facts: dict[str, Any], core: Any = None, digest: str = "", header: str = "") -> Rule:
    hypers = tuple(
        Hyper(h["name"], bool(h["default"]) if h["range"] == "flag" else h["default"], h["range"], h["doc"])
        for h in facts["hypers"]
    )
    return Rule(
        name=facts["name"],
        function=facts["function"],
        year=facts["year"],
        summary=facts["summary"],
        paper=facts["paper"],
        traits=dict(facts["traits"]),
        hypers=hypers,
        slots=tuple(Slot(s["name"], s["always"], s["doc"]) for s in facts["slots"]),
        scalars=tuple(Scalar(s["name"], s["doc"]) for s in facts["scalars"]),
        forms={one["name"]: wording.form(facts, one["hypers"]) for one in facts["forms"]},
        has_point=facts["has_point"],
        operations=tuple(facts["operations"]),
        facts=facts,
        core=core or facts["function"],
        digest=digest,
        header=header,
    )


def of_own(facts: dict[str, Any], core: _core.OwnRule, key: str, digest: str, header: str) -> Rule:
    """A rule that is not in the catalog; kernels are made for it by its key."""
    _OWN[key] = _read(facts, core, digest, header)
    return _OWN[key]


_OWN: dict[str, Rule] = {}
_RULES = {facts["function"]: _read(facts) for facts in _core.catalog()}


def rules() -> dict[str, Rule]:
    """The catalog: every rule under the name of its plain function.

    Returns
    -------
    dict of str to Rule
        ``.hypers``, ``.slots``, ``.paper``, ``.year``, ``.summary`` of each.

    Examples
    --------
    >>> import schuss
    >>> [slot.name for slot in schuss.rules()["adamw"].slots]
    ['m', 'v', 'v_max']
    """
    return dict(_RULES)


def named(key: str) -> Rule:
    """A rule of the catalog by its plain function, or one of the user's own by its key."""
    return _RULES.get(key) or _OWN[key]


def device_rules() -> dict[str, Rule]:
    """Those that CUDA kernels step."""
    return {name: rule for name, rule in _RULES.items() if rule.on_device}


TABLE = ("rule", "first moment", "second moment", "bias correction", "decay", "slots", "bytes", "year", "main use")


def table_row(rule: Rule) -> tuple[str, ...]:
    """A rule's line in the table of comparison: bytes are those of the slots beside a float32 parameter."""
    slots = ", ".join(slot.name if slot.always else f"[{slot.name}]" for slot in rule.slots) or "none"
    least, most = 4 * sum(slot.always for slot in rule.slots), 4 * len(rule.slots)
    traits = (rule.traits[key] for key in ("first_moment", "second_moment", "bias_correction", "decay"))
    kept = f"{least}" if least == most else f"{least} to {most}"
    return rule.name, *traits, slots, kept, str(rule.year), rule.traits["use"]
