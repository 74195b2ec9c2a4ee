"""Public docstrings follow numpydoc, as scikit-learn's do."""

import importlib
import inspect

import pytest
from numpydoc.validate import validate

import skage
from skage.losses import TERMS

from .test_layout import PUBLIC

#: What of numpydoc is not asked for.
LEFT_OUT = {
    "ES01": "a summary may say it all",
    "EX01": "what needs weights or faces has its example in the README",
    "GL01": "summaries stand behind the quotes, as in scikit-learn",
    "GL08": "modules and properties are asked for elsewhere",
    "RT03": "the name and type of what is returned may say it all",
    "SA01": "few functions have relatives",
    "SA04": "names may say it all",
    "PR07": "the type of X may say it all",
    "PR08": "descriptions may begin with a quoted value",
    "PR09": "the last line may be a sentence in code",
    "RT02": "what is returned is named",
    "RT04": "descriptions may begin with a quoted value",
    "RT05": "the last line may be a sentence in code",
    "SS05": "Load is an imperative",
    "YD01": "generators are private",
}


def objects():
    names = [f"skage.{name}" for name in skage.__all__ if name not in [*PUBLIC, "datasets"]]
    for module in [*PUBLIC, "datasets"]:
        public = importlib.import_module(f"skage.{module}").__all__
        names += [f"skage.{module}.{name}" for name in public]
    for name in names:
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        if not (inspect.isclass(found) or inspect.isfunction(found)):
            continue
        if found in TERMS.values():  # they share a signature, which their module documents
            continue
        where = f"{found.__module__}.{found.__qualname__}"
        yield where
        if inspect.isclass(found):
            for method, value in vars(found).items():
                if not method.startswith("_") and inspect.isroutine(value):
                    yield f"{where}.{method}"


@pytest.mark.parametrize("name", sorted(set(objects())))
def test_a_public_docstring_is_numpydocs(name):
    errors = validate(name)["errors"]
    assert [error for error in errors if error[0] not in LEFT_OUT] == []
