"""The table of comparison: `schuss rules`, from the facts that each rule's header states."""

from __future__ import annotations

import numpy as np
import pytest
import schuss
from helpers import CLASSES, RULES
from schuss.cli import main


def test_the_command_shows_a_line_a_rule_with_all_that_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    for column in ("first moment", "second moment", "bias correction", "decay", "slots", "bytes", "year", "main use"):
        assert column in head
    assert [line.split()[0] for line in lines] == [rule.name for rule in schuss.rules().values()]
    adamw = next(line for line in lines if line.startswith("AdamW "))
    for cell in ("mean of g ", "mean of g^2", "both", "decoupled", "m, v, [v_max]", "8 to 12", "2019", "transformers"):
        assert cell in adamw


@pytest.mark.parametrize("rule", RULES)
def test_every_trait_is_stated(rule: str) -> None:
    traits = schuss.rules()[rule].traits
    assert set(traits) == {"first_moment", "second_moment", "bias_correction", "decay", "use"}
    assert all(traits.values())


@pytest.mark.parametrize("rule", RULES)
def test_decay_as_the_table_has_it_is_what_the_rule_takes(rule: str) -> None:
    facts = schuss.rules()[rule]
    assert ("weight_decay" in facts.defaults) == (facts.traits["decay"] != "none")


@pytest.mark.parametrize("rule", [name for name in RULES if schuss.rules()[name].traits["decay"] == "decoupled"])
def test_decoupled_decay_shrinks_p_apart_from_the_gradient(rule: str) -> None:
    with_decay, without = np.full(5, 2.0), np.full(5, 2.0)
    CLASSES[rule](with_decay, lr=0.1, weight_decay=0.5).step(np.linspace(-1, 1, 5))
    CLASSES[rule](without, lr=0.1, weight_decay=0.0).step(np.linspace(-1, 1, 5))
    np.testing.assert_allclose(without - with_decay, 0.1 * 0.5 * 2.0, rtol=1e-12)
