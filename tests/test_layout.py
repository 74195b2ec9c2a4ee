"""Which names are public, and which module may import which."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import skage

ROOT = Path(__file__).parent.parent
PACKAGES = ["datasets", "displays", "evaluation", "metrics"]
PUBLIC = [
    name
    for name in skage.__all__
    if name in PACKAGES or (ROOT / "skage" / name).with_suffix(".py").exists()
]

#: A module imports from its own line, and from the lines before, as it is imported.
LAYERS = [
    ["_sklearn"],
    [
        "_memory",
        "_keys",
        "runtime",
        "_checks",
        "_groups",
        "_partition",
        "_targets",
        "_nested",
        "_unwrap",
        "schedules",
        "preprocessing",
    ],
    ["_hardware", "_files"],
    ["_images", "binning"],
    ["images", "augment", "faces", "losses", "metrics", "splits", "_networks"],
    ["_activations", "datasets", "displays", "_decision", "_held_out"],
    ["decision"],
    ["evaluation"],
    ["_training"],
    ["_classifier"],
    ["_distribution", "classifier", "embedding"],
    ["_calibration"],
    ["regressor", "ensemble"],
    ["calibration"],
    ["_models", "presets"],
    ["_serve"],
    ["_app"],
]


def unit(module):
    """The file or folder in skage that a module is, or is in."""
    return module.split(".")[1] if "." in module else ""


def imports(path):
    """What a file of skage imports of skage as it is imported: absolute module names."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (".".join([*base, name]) for name in names if name != "__version__")
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("skage"):
            yield node.module


@pytest.mark.parametrize("path", sorted((ROOT / "skage").rglob("*.py")), ids=str)
def test_imports_point_one_way(path):
    rank = {name: i for i, names in enumerate(LAYERS) for name in names}
    parts = path.relative_to(ROOT / "skage").with_suffix("").parts
    if parts[0] in ("__init__", "__main__"):
        return
    for module in imports(path):
        other = unit(module)
        assert other in ("", parts[0]) or rank[other] < rank[parts[0]], module


@pytest.mark.parametrize("path", sorted((ROOT / "skage").rglob("*.py")), ids=str)
def test_private_names_of_scikit_learn_are_imported_in_one_place(path):
    if path.name == "_sklearn.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn"):
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            assert not [name for name in names if name.startswith("_")], node.lineno


def test_the_modules_of_a_folder_do_not_import_each_other_in_circles():
    for folder in (ROOT / "skage").glob("_*/"):
        prefix = f"skage.{folder.name}."
        needs = {
            path.stem: {m[len(prefix) :].split(".")[0] for m in imports(path) if prefix in m}
            for path in folder.glob("[!_]*.py")
        }
        while needs:
            free = {name for name in needs if not needs[name] & needs.keys()}
            assert free, f"a circle among {sorted(needs)}"
            needs = {name: found for name, found in needs.items() if name not in free}


def test_the_api_page_lists_what_is_public():
    page = (ROOT / "docs" / "api.md").read_text()
    listed = set(re.findall(r"^- `([\w.]+)`", page, flags=re.MULTILINE))
    expected = {f"skage.{name}" for name in skage.__all__ if name not in PUBLIC}
    for module in PUBLIC:
        names = importlib.import_module(f"skage.{module}").__all__
        expected |= {f"skage.{module}.{name}" for name in names}
    assert listed == expected


def test_public_modules_say_what_is_public():
    files = {path.stem for path in (ROOT / "skage").glob("[!_]*.py")}
    homes = {
        "binning",
        "calibration",
        "classifier",
        "decision",
        "embedding",
        "ensemble",
        "faces",
        "preprocessing",
        "regressor",
        "runtime",
    }  # of names that skage has itself
    assert files - homes == set(PUBLIC) - set(PACKAGES)


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("examples/*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md"],
    ids=lambda path: path.name,
)
def test_examples_and_docs_use_public_modules_alone(path):
    text = path.read_text()
    assert not re.findall(r"^\s*(?:from|import) skage\._|from skage import _", text, re.MULTILINE)
