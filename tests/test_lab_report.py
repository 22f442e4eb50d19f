"""The laboratory's report: complete results, whole pictures, sentences that are true."""
# ruff: noqa: E402  (the lab's packages are optional: ask for them before importing it)

from __future__ import annotations

import copy
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

for package in ("autograd", "jinja2", "mlxtend"):
    pytest.importorskip(package)

from schuss.lab import compare, entries, pictures, report, sentences, stats, svg
from schuss.lab.reading import Reading
from schuss.lab.settings import Settings

SMALL = Settings(epochs=1, seeds=2, batch=32, examples=256)
PAIR = ["sgd", "adam"]


@pytest.fixture(scope="module")
def results():
    return compare.compare(entries.pick(PAIR), SMALL, quiet=True)


def with_accuracies(results, **by_name):
    """The results as they would be had the test accuracies, a list a seed, been these."""
    changed = copy.deepcopy(results)
    for run in changed["runs"]:
        run["test"]["accuracy"] = by_name[run["optimizer"]][run["seed"]]
    return changed


def test_results_are_complete(results, tmp_path):
    page = compare.write(results, tmp_path)

    def refuse(word):
        raise AssertionError(word)

    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == results
    assert page == tmp_path / "index.html"
    assert {"config", "data", "machine", "versions", "optimizers", "runs", "step_time"} <= set(results)
    assert [(run["optimizer"], run["seed"]) for run in results["runs"]] == [
        ("sgd", 0), ("sgd", 1), ("adam", 0), ("adam", 1),
    ]  # fmt: skip
    for run in results["runs"]:
        assert {len(values) for values in run["epochs"].values()} == {SMALL.epochs + 1}
        assert {len(values) for values in run["steps"].values()} == {SMALL.steps}
        assert 0 < run["test"]["accuracy"] <= 1
    for times in results["step_time"]["optimizers"].values():
        for what in ("gradient", "optimizer", "total"):
            assert 0 < times[what]["lower"] <= times[what]["median"] <= times[what]["upper"]


def test_page_needs_nothing_outside_itself(results):
    page = report.page(results)
    assert not re.search(r"https?:|//\w|\bsrc=|\bhref=|url\(|@import|<script|<link", page)


def test_every_picture_is_well_formed_and_says_what_it_is(results):
    page = report.page(results)
    found = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(found) == 1 + 4 + 2 + 3 + 2
    ids: list[str] = []
    for text in found:
        root = ElementTree.fromstring(text)
        if root.get("aria-hidden"):
            continue
        assert root.get("role") == "img"
        title, desc = root.find("title"), root.find("desc")
        assert title is not None
        assert desc is not None
        assert title.text
        assert desc.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
        ids += [title.get("id", ""), desc.get("id", "")]
        for part in root.iter():
            for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
                assert np.isfinite(float(part.get(name, "0")))
            assert "nan" not in part.get("d", "")
    assert len(ids) == len(set(ids))


def test_a_picture_stands_alone(results):
    text = pictures.standalone(pictures.accuracy(results)[0])
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("best", PAIR)
def test_sentences_name_the_true_best(results, best):
    other = next(name for name in PAIR if name != best)
    changed = with_accuracies(results, **{best: [0.94, 0.95], other: [0.90, 0.91]})
    label = entries.ENTRIES[best].label
    assert sentences.summary(changed).startswith(f"{label} ends highest, with 94.50 %")
    assert "ahead of every other" in sentences.summary(changed)
    said = sentences.accuracy(changed)
    assert said.startswith(f"{label} is highest at 94.50 %")
    assert "lead is 4.00 ± 0.00 points (95 %): that exceeds the seeds' spread" in said


def test_sentences_admit_a_lead_within_the_spread(results):
    changed = with_accuracies(results, sgd=[0.94, 0.90], adam=[0.90, 0.93])
    assert "does not tell it from any other" in sentences.summary(changed)
    assert "within the seeds' spread" in sentences.accuracy(changed)


def test_curve_sentence_follows_the_numbers(results):
    r = Reading(results)
    low = min(r.names, key=lambda name: r.mean(name, "train_loss")[-1])
    said = sentences.curves(results)
    assert f"{r.label[low]} has the lowest train loss, {r.mean(low, 'train_loss')[-1]:.3g}" in said
    changed = copy.deepcopy(results)
    for run in changed["runs"]:
        run["epochs"]["train_loss"][-1] = 0.01 if run["optimizer"] != low else 0.5
    assert f"{r.label[low]} has the lowest" not in sentences.curves(changed)


def test_clipping_sentence_follows_the_numbers(results):
    changed = copy.deepcopy(results)
    for run in changed["runs"]:
        n = len(run["steps"]["grad_norm"])
        run["steps"]["grad_norm"] = [2.0 if run["optimizer"] == "adam" else 0.5] * n
    said = sentences.clipping(changed)
    assert "most often under Adam, 100.0 % of its steps, least under SGD, 0.0 %" in said
    for run in changed["runs"]:
        run["steps"]["grad_norm"] = [0.5] * SMALL.steps
    assert "clipping changed nothing" in sentences.clipping(changed)


def test_time_sentence_and_picture_give_the_optimizers_share(results):
    changed = copy.deepcopy(results)
    for name, own in (("sgd", 1e-5), ("adam", 4e-5)):
        for what, value in (("gradient", 1.6e-4), ("optimizer", own), ("total", 1.6e-4 + own)):
            changed["step_time"]["optimizers"][name][what] = dict.fromkeys(("median", "lower", "upper"), value)
    said = sentences.times(changed)
    assert "from 5.9 % (SGD, 10 µs) to 20.0 % (Adam, 40 µs)" in said
    assert "20.0 % of 200 µs" in pictures.times(changed)[0]


def test_one_seed_is_reported_as_too_few(results):
    changed = copy.deepcopy(results)
    changed["config"]["seeds"] = [0]
    changed["runs"] = [run for run in changed["runs"] if run["seed"] == 0]
    assert "one seed is too few" in report.page(changed)
    assert "Wilson" in sentences.accuracy(changed)


def test_one_optimizer_is_reported(results):
    changed = copy.deepcopy(results)
    changed["optimizers"] = changed["optimizers"][:1]
    changed["runs"] = [run for run in changed["runs"] if run["optimizer"] == "sgd"]
    assert "One optimizer" in report.page(changed)


def test_blown_up_runs_are_drawn_and_named(results):
    changed = copy.deepcopy(results)
    for run in changed["runs"]:
        if run["optimizer"] == "sgd":
            run["epochs"]["train_loss"][1:] = [None] * SMALL.epochs
            run["steps"]["grad_norm"] = [None] * SMALL.steps
            run["skipped"] = SMALL.steps
    page = report.page(changed)
    assert "SGD left the finite numbers" in page
    assert "16 steps had no finite gradient" in page


def test_t_intervals_agree_with_scipy():
    scipy_stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 4, 9, 30, 40, 100):
        assert stats.t_point(freedom) == pytest.approx(scipy_stats.t.ppf(0.975, freedom), abs=2e-3)


def test_labels_never_overlap_nor_leave_their_place():
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = list(rng.uniform(0, 100, 7))
        moved = svg.spread(places, 12, 0, 100)
        assert np.all(np.diff(np.sort(moved)) >= 12 - 1e-9)
        assert min(moved) >= -1e-9
        assert max(moved) <= 100 + 1e-9
        assert list(np.argsort(moved)) == list(np.argsort(places))
