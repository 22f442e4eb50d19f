"""A graph as the struct of a rule, for the kernels of CUDA: the form that the catalog's headers have."""

from __future__ import annotations

from .nodes import Node, reachable

STRUCT = "OwnRule"
_BINARY = {
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/"},
    **{"less": "<", "less_or_equal": "<=", "equal": "==", "unequal": "!=", "and": "&&", "or": "||"},
}
_CALLS = {"root": "schuss::sqrt", "size": "magnitude", "sign": "schuss::sign"}


def header(outputs: dict[str, Node], slots: list[str], numbers: list[Node]) -> str:
    """The struct and its slots; `numbers` are those that the core prepares, in its order."""
    place = {node.order: f"number[{index}]" for index, node in enumerate(numbers)}
    own = {"p": "p", "g": "g"} | {slot: f"slot{index}" for index, slot in enumerate(slots)}
    nodes = [node for node in reachable(list(outputs.values())) if not node.number]

    def value(node: Node) -> str:
        if node.operation == "literal":
            return f"T({node.value.hex()})"
        if node.number:
            return place[node.order]
        if node.args:
            return f"v{node.order}"
        return f"old_{own[node.value if node.operation == 'slot' else node.operation]}"

    def condition(node: Node) -> str:
        return f"({value(node)} != T(0))" if node.number else value(node)

    def expression(node: Node) -> str:
        args = list(map(condition if node.condition and node.args[0].condition else value, node.args))
        if node.operation == "choose":
            return f"select({condition(node.args[0])}, {value(node.args[1])}, {value(node.args[2])})"
        if node.operation == "equal" and node.args[0].condition:
            return f"!{args[0]}"  # how `not` is held
        if node.operation == "negate":
            return f"-{args[0]}"
        if node.operation == "smallest":
            return f"select({args[0]} < {args[1]}, {args[0]}, {args[1]})"
        if node.operation == "largest":
            return f"larger({args[0]}, {args[1]})"
        if node.operation in _CALLS:
            return f"{_CALLS[node.operation]}({args[0]})"
        return f"{args[0]} {_BINARY[node.operation]} {args[1]}"

    lines = [f"const T old_{name} = {name};" for name in own.values()]
    lines += [
        f"const {'bool' if node.condition else 'T'} v{node.order} = {expression(node)};" for node in nodes if node.args
    ]
    lines += [f"{own[name]} = {value(node)};" for name, node in outputs.items()]
    references = "".join(f", T& {own[slot]}" for slot in slots)
    body = "\n".join(f"    {line}" for line in lines)
    return f"""// ---- a rule of the user's own ----
namespace schuss {{

struct {STRUCT}Slots {{
  enum : unsigned {{ count = {len(slots)} }};
  static constexpr unsigned always = {(1 << len(slots)) - 1}u;
}};

template <class T, unsigned Kept>
struct {STRUCT} {{
  uint64_t program;  // the CPU's
  T number[{max(1, len(numbers))}];

  SCHUSS_FN void apply(T& p, T g{references}) const {{
{body}
  }}
}};

}}  // namespace schuss
"""
