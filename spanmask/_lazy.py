"""Public names that a package imports when they are first used (PEP 562), so that importing it loads little."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from spanmask.errors import MissingExtraError

#: Libraries of extras: what people call them, and the extra.
_EXTRAS = {
    "torch": ("PyTorch", "train"),
    "safetensors": ("safetensors", "train"),
    "scipy": ("SciPy", "probes"),
    "transformers": ("transformers", "backbones"),
    "distributed": ("Dask", "dask"),
    "spacy": ("spaCy", "spacy"),
}


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Parameters
    ----------
    package
        Its ``__name__``.
    homes
        The module of each name, below the package; after a colon, what the name is called there if that is another; empty where the name
        is a module's.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, inner = homes[name].partition(":")
        try:
            found = import_module(f"{package}.{module or name}")
            return getattr(found, inner or name) if module else found
        except ModuleNotFoundError as error:
            raise told_by_extra(f"{package}.{name}", error) from None

    return find, lambda: list(homes)


def told_by_extra(what: str, error: BaseException) -> BaseException:
    """Return an error that names the extra, where a library of one is missing; any other error as it is. what: what needs it."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in _EXTRAS:
        return error
    library, extra = _EXTRAS[error.name]
    return MissingExtraError(f"{what} needs {library}, which is not installed: {installing(extra)}")


def installing(extra: str) -> str:
    """Return what brings an extra, as messages say it."""
    return f"pip install '.[{extra}]' in a checkout of spanmask"
