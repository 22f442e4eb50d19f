"""Experiments on real data: what each optimizer does, in numbers and pictures.

Nothing heavy is imported here. An experiment is one file that makes a settings object, a
results mapping and a report; see `compare.py` for the shape of it.

    schuss lab compare      seven optimizers on handwritten digits, with a report
    schuss lab sweep        the learning rates that `compare` uses
"""
