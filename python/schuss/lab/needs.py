"""The lab's optional packages, and one clear message when they are missing."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = ("autograd", "jinja2", "mlxtend", "rich", "typer")
"""What `pip install "schuss[lab]"` brings."""


class MissingPackages(ImportError):
    """A package of the `lab` extra is not installed."""


def require(*packages: str) -> None:
    """Raise unless every package can be imported; nothing is imported by asking.

    Parameters
    ----------
    *packages : str
        Import names; by default all of `PACKAGES`.

    Raises
    ------
    MissingPackages
        Naming each missing package and the command that installs them.

    Examples
    --------
    >>> require("json", "math")
    >>> require("json", "no_such_package")
    Traceback (most recent call last):
        ...
    schuss.lab.needs.MissingPackages: the lab needs no_such_package: pip install "schuss[lab]"
    """
    missing = [name for name in packages or PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingPackages(f'the lab needs {", ".join(missing)}: pip install "schuss[lab]"')
