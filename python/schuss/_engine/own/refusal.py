"""Errors that show their place in the text of a rule."""

from __future__ import annotations

import ast
import difflib
import textwrap
from collections.abc import Iterable
from typing import NoReturn


class Text:
    """The text of a rule, without the indentation that its lines share."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.replace("\r\n", "\n").replace("\r", "\n").expandtabs(8).split("\n")
        plain = textwrap.dedent("\n".join(self.lines)).split("\n")
        indents = [len(own) - len(bare) for own, bare in zip(self.lines, plain, strict=True) if bare.strip()]
        self.indent = indents[0] if indents else 0
        self.plain = plain
        self.source = "\n".join(plain)

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        """A ValueError with the line and a mark under the node."""
        line = getattr(node, "lineno", 1)
        shown = self.plain[line - 1] if line <= len(self.plain) else ""
        start = _characters(shown, getattr(node, "col_offset", 0))
        same = getattr(node, "end_lineno", line) == line
        end = _characters(shown, getattr(node, "end_col_offset", 0)) if same else len(shown)
        self.refuse_at(line, start, max(end, start + 1), what)

    def refuse_at(self, line: int, start: int, end: int, what: str) -> NoReturn:
        """Likewise, from one character of a line to another."""
        shown = self.plain[line - 1] if 1 <= line <= len(self.plain) else ""
        mark = " " * start + "^" * max(1, end - start)
        raise ValueError(
            f"rule {self.name!r}, line {line}, column {start + self.indent + 1}: {what}\n    {shown}\n    {mark}"
        )


def _characters(line: str, offset: int) -> int:
    """Python counts bytes of UTF-8."""
    return len(line.encode()[:offset].decode(errors="replace"))


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'beta'?`, or nothing."""
    found = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
