"""Every setting that docs/dialects.md names, against the library that it names."""

from __future__ import annotations

import re

import numpy as np
import pytest
import schuss
from dialects import DIALECTS, Dialect
from helpers import REPOSITORY, assert_close
from other_libraries import RATES, inputs

PAGE = REPOSITORY / "docs" / "dialects.md"
TITLES = {f"{each.rule}: {each.library}": each for each in DIALECTS}


def here(dialect: Dialect, **changed: object) -> np.ndarray:
    p, grads = inputs()
    opt = getattr(schuss, dialect.rule)(p, lr=lambda step: RATES[step], **{**dialect.setting, **changed})
    for g in grads:
        opt.step(g)
    return p


def test_no_title_is_there_twice() -> None:
    assert len(TITLES) == len(DIALECTS)


@pytest.mark.parametrize("title", TITLES)
def test_the_setting_gives_what_its_library_gives(title: str) -> None:
    dialect = TITLES[title]
    p, _ = inputs()
    want = dialect.witness()
    assert_close(here(dialect), want, np.abs(p) + np.abs(want) + 1, dialect.rtol)


@pytest.mark.parametrize("title", TITLES)
def test_every_hyper_of_a_setting_is_needed_or_is_the_default(title: str) -> None:
    """Back at its default, each hyper of the setting gives another walk."""
    dialect = TITLES[title]
    rule = next(each for each in schuss.rules().values() if each.name == dialect.rule)
    whole = here(dialect)
    for name, value in dialect.setting.items():
        if value == rule.defaults[name] or (name == "momentum" and dialect.setting.get("nesterov")):
            continue
        other = here(dialect, **{name: rule.defaults[name]})
        assert not np.allclose(other, whole, rtol=0, atol=1e-12), name  # a NaN is another walk


@pytest.mark.skipif(not PAGE.exists(), reason="this test reads the source tree")
def test_the_page_has_these_lines_under_their_rules_and_no_others() -> None:
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
    lines = {part.splitlines()[0]: re.findall(r"^\| (?!library |---).*\|$", part, re.M) for part in sections}
    rules = {rule.name for rule in schuss.rules().values()}
    want: dict[str, list[str]] = {}
    for dialect in DIALECTS:
        want.setdefault(dialect.rule, []).append(dialect.line)
    assert {name: found for name, found in lines.items() if name in rules} == want
