"""How parameters are written on the command line."""

import pytest

from skage import presets
from skage._app.describe import describe_parameters
from skage._app.model import Recipe
from skage._app.parameters import parse_value, read_grid, read_settings, value_classes, write_value
from skage.augment import Jitter
from skage.runtime import Runtime
from skage.schedules import OneCycle, StepDecay


def recipe(*assignments, preset="fast"):
    return Recipe(preset, read_settings(assignments))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.01", 0.01),
        ("1e-3", 1e-3),
        ("None", None),
        ("True", True),
        ("(200, 200)", (200, 200)),
        ("()", ()),
        ("{'cross_entropy': 1}", {"cross_entropy": 1}),
        (" auto ", "auto"),
        ("'adamw'", "adamw"),
        ("my file-2.pth", "my file-2.pth"),
        ("~/vgg (1).pth", "~/vgg (1).pth"),
        (r"C:\new\5is.pth", r"C:\new\5is.pth"),
        ("{[]: 1}", "{[]: 1}"),
        ("{512}", "{512}"),
        ("(" * 10_000, "(" * 10_000),
    ],
)
def test_values_are_pythons_or_text(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "value", [0.01, None, "auto", (512,), Jitter(2, shift=0.2), OneCycle(), Runtime(device="cpu")]
)
def test_what_a_search_writes_can_be_set(value):
    found = parse_value(write_value(value))
    assert repr(found) == repr(value)


@pytest.mark.parametrize("text", ["Jitter(turn=1)", "Jitter(open('x'))", "Jitter(**{'a': 1})"])
def test_a_value_object_that_cannot_be_made_is_told_with_what_it_takes(text):
    with pytest.raises(ValueError, match=r"cannot be made. .* of Jitter\(.*n_copies=10, .*\)"):
        parse_value(text)


def test_nothing_is_called_but_the_constructors_of_values():
    with pytest.raises(ValueError, match=r"there is no open\. Write one of AgeBinner, Jitter, "):
        parse_value("open('x')")
    assert parse_value("os.remove('x')") == "os.remove('x')"


def test_a_grid_is_split_at_its_outer_commas():
    given = [
        "classifier.hidden_layer_sizes=(512,),(),(200, 200)",
        "binner.strategy=uniform,balanced",
        "classifier.loss={'cross_entropy': 1, 'variance': 1},None",
        "classifier.augment=None,Jitter(n_copies=2, shift=0.2)",
    ]
    grid = read_grid(given)
    assert grid["classifier__hidden_layer_sizes"] == [(512,), (), (200, 200)]
    assert grid["binner__strategy"] == ["uniform", "balanced"]
    assert grid["classifier__loss"] == [{"cross_entropy": 1, "variance": 1}, None]
    none, jitter = grid["classifier__augment"]
    assert none is None
    assert jitter.shift == 0.2


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["binner.n_bins"], "must be NAME=VALUE"),
        (["binner.n_bins=1,,2"], "has an empty value"),
        (["binner.n_bins=1,2,1"], "has the value 1 twice"),
        (["binner.n_bins=1", "binner.n_bins=2"], "--grid binner.n_bins is given twice"),
    ],
)
def test_a_grid_that_cannot_be_meant_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        read_grid(grid)


@pytest.mark.parametrize("name", ["classifier__augment", "classifier__augment__n_copies"])
def test_what_is_searched_is_not_set_too(name):
    with pytest.raises(ValueError, match=r"--grid classifier\.augment and --set x set the same"):
        read_grid(["classifier.augment=None,Jitter()"], {name: "--set x"})
    read_grid(["classifier.augment.n_copies=2,3"], {"classifier__augment": "--set x"})


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("lr", "classifier.lr"),
        ("classifier.rl", "classifier.lr"),
        ("n_bin", "binner.n_bins"),
        ("classifier.device", "classifier.runtime.device"),
        ("classifer.runtime.device", "classifier.runtime.device"),
        ("decoding", "decode"),
    ],
)
def test_an_unknown_parameter_is_told_with_the_nearest_one(name, suggested):
    with pytest.raises(ValueError, match="--help-parameters lists all") as told:
        recipe(f"{name}=1").model()
    assert f"no parameter '{name}'. Did you mean {suggested}?" in str(told.value)


@pytest.mark.parametrize("assignment", ["xyzzy=1", "classifier=None"])
def test_what_is_like_no_parameter_is_refused_without_a_suggestion(assignment):
    with pytest.raises(ValueError, match=r"There is no parameter '[a-z]+'\. --help-parameters"):
        recipe(assignment).model()


def test_callbacks_cannot_be_written_on_the_command_line():
    with pytest.raises(ValueError, match="callbacks are objects, which cannot be written on the"):
        recipe("classifier.callbacks=[1]").model()


def test_parameters_of_value_objects_can_be_set_in_any_order():
    model = recipe(
        "classifier.augment.n_copies=3",
        "classifier.lr_schedule.warmup=0.5",
        "classifier.runtime.device=cpu",
        "classifier.augment=Jitter(mirror=False)",
        "classifier.lr_schedule=OneCycle()",
    ).model()
    assert repr(model.classifier.augment) == "Jitter(mirror=False, n_copies=3)"
    assert model.classifier.lr_schedule.warmup == 0.5
    assert model.classifier.runtime.device == "cpu"


def test_models_of_a_recipe_share_no_value_object():
    given = recipe("classifier.augment=Jitter(n_copies=2)")
    first, second = (given.model(classifier__augment__n_copies=n) for n in (3, 4))
    assert (first.classifier.augment.n_copies, second.classifier.augment.n_copies) == (3, 4)


def test_a_preset_adapts_what_follows_from_what_is_set():
    model = recipe("classifier.validation_fraction=0", preset="dex").model()
    expected = presets.dex(validation_fraction=0)
    assert model.classifier.early_stopping == expected.classifier.early_stopping


@pytest.mark.parametrize("preset", presets.__all__)
def test_parameters_are_listed_with_values_that_can_be_set_and_what_they_take(preset):
    model = getattr(presets, preset)(*(["network.onnx"] if preset == "face" else []))
    told = describe_parameters(preset, model)
    lines = told.splitlines()
    assert max(map(len, lines)) < 80
    values = [line[2:].split(" = ") for line in lines if line.startswith("  ") and " = " in line]
    values = [words for words in values if "." in words[0] or words[0] == "decode"]
    settings = dict(values)
    names = {name.replace("__", ".") for name in model.get_params()}
    assert names - {"classifier", "binner", "classifier.callbacks"} <= {*settings}
    assert {"classifier.runtime.device", "classifier.lr"} <= {*settings}
    same = recipe(*map("=".join, settings.items()), preset=preset).model()
    for name, value in same.get_params(deep=False).items():
        assert repr(value) == repr(model.get_params()[name]) or name == "classifier"
    assert told.count("      Takes ") >= len(settings)
    for kind in value_classes():
        assert kind in told or (kind == "Preprocessing" and preset != "face")


def test_the_schedule_that_none_stands_for_can_be_set():
    model = recipe("classifier.lr_schedule=None", "classifier.lr_schedule.step=3").model()
    assert isinstance(model.classifier.lr_schedule, StepDecay)


def test_the_binner_that_none_stands_for_can_be_set():
    assert repr(recipe("binner=None").model().binner) == "AgeBinner()"


def test_what_a_parameter_takes_is_told_with_what_it_means():
    told = " ".join(describe_parameters("fast", presets.fast()).split())
    assert '"uniform" makes bins of equal width over age_range. "balanced" makes' in told
    assert 'Takes {"output", "classifier", "block5", "block4", "block3", "block2", "all"}.' in told
    assert '"auto" depends on what is trained and by which optimizer.' in told
    assert "callbacks = " not in told
