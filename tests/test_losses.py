import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from skage import AgeBinner, BinnedAgeRegressor
from skage._targets import AgeTargets
from skage._training.criterion import Criterion
from skage.losses import REGRESSION, TERMS, BatchTargets, check_loss

from .conftest import tiny_classifier, tiny_model

VALUES = torch.tensor([5.0, 20.0, 40.0, 70.0], dtype=torch.float64)


def batch_of(ages, encoding="hard"):
    binner = AgeBinner([0, 10, 30, 50, 100], representative="midpoint", encoding=encoding)
    binner.fit([0, 100])
    codes = torch.from_numpy(binner.transform(ages))
    soft = None if encoding == "hard" else torch.from_numpy(binner.encode(ages)).double()
    return BatchTargets(codes, soft, torch.tensor(ages, dtype=torch.float64))


@pytest.mark.parametrize("encoding", ["hard", "gaussian", "sord", "two_hot"])
@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_those_of_differences(name, encoding):
    torch.manual_seed(0)
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    targets = batch_of([3.0, 25.0, 90.0], encoding)
    torch.autograd.gradcheck(lambda x: TERMS[name](x.log_softmax(1), targets, VALUES), logits)


@pytest.mark.parametrize("name", sorted(set(TERMS) - {"variance"}))
def test_a_term_is_least_where_the_prediction_is_right(name):
    targets = batch_of([25.0])
    targets.ages[:] = VALUES[1]
    right = torch.tensor([[-20.0, 20.0, -20.0, -20.0]]).double().log_softmax(1)
    near = torch.tensor([[-20.0, 0.0, 0.0, -20.0]]).double().log_softmax(1)
    far = torch.tensor([[-20.0, 0.0, -20.0, 0.0]]).double().log_softmax(1)
    losses = [TERMS[name](log_p, targets, VALUES).item() for log_p in (right, near, far)]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[0] < losses[1]
    if name != "cross_entropy":  # which knows no distance
        assert losses[1] < losses[2]


def test_terms_are_what_they_say():
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    targets, log_p = batch_of([25.0]), p.log()
    expected = (p @ VALUES).item()
    found = {name: term(log_p, targets, VALUES).item() for name, term in TERMS.items()}
    assert found["cross_entropy"] == pytest.approx(-np.log(0.2))
    assert found["expectation_l1"] == pytest.approx(abs(expected - 25))
    assert found["expectation_l2"] == pytest.approx((expected - 25) ** 2 / 2)
    assert found["variance"] == pytest.approx((p @ VALUES**2).item() - expected**2)
    cuts = np.array([0.1, 0.3, 0.6])
    steps = (cuts - [0, 1, 1]) ** 2 * [15, 20, 30]
    assert found["ranked_probability"] == pytest.approx(steps.sum())
    bits = -np.log([0.9, 0.3, 0.6])
    assert found["cumulative"] == pytest.approx(bits.mean())


def test_a_criterion_weighs_terms_and_images():
    logits, codes = torch.randn(4, 4), torch.tensor([0, 1, 2, 3])
    targets = {"codes": codes, "weight": torch.tensor([0.0, 0.0, 2.0, 2.0])}
    targets["ages"] = torch.tensor([5.0, 20, 40, 60])
    loss = Criterion({"cross_entropy": 2, "expectation_l1": 0.1}, VALUES)(logits, targets)
    log_p = logits[2:].log_softmax(1)
    error = (log_p.exp() @ VALUES.float() - targets["ages"][2:]).abs()
    expected = 2 * torch.nn.functional.nll_loss(log_p, codes[2:]) + 0.1 * error.mean()
    assert loss.item() == pytest.approx(expected.item())


def test_a_regressed_age_is_its_distributions_expectation():
    criterion = Criterion({"l1": 1}, VALUES)
    outputs = torch.linspace(-1.1, 1.4, 26)[:, None]
    p = criterion.probabilities(outputs)
    ages = VALUES.mean() + outputs[:, 0] * VALUES.std(correction=0)
    assert p.sum(dim=1).numpy() == pytest.approx(np.ones(26))
    assert ((p > 0).sum(dim=1) <= 2).all()
    assert (p.double() @ VALUES).numpy() == pytest.approx(ages.numpy(), abs=1e-4)
    beyond = criterion.probabilities(torch.tensor([[-9.0], [9.0]]))
    assert (beyond.double() @ VALUES).tolist() == [5, 70]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mse", "the unknown term 'mse'"),
        ({}, "must be a name, or a dict of weights by name"),
        ({"cross_entropy": -1}, "number >= 0"),
        ({"variance": 0}, "must give at least one term a weight above 0"),
        ({"l1": 1, "cross_entropy": 1}, "cannot be combined"),
    ],
)
def test_wrong_losses_are_refused(loss, message, faces):
    with pytest.raises(ValueError, match=message):
        check_loss(loss)
    with pytest.raises(ValueError, match=message):
        tiny_model(3, loss=loss).fit(faces.data, faces.target)


def test_losses_of_years_need_ages(faces):
    with pytest.raises(ValueError, match="Put the classifier into BinnedAgeRegressor"):
        tiny_classifier(loss="expectation_l1").fit(faces.data, np.arange(40) % 3)


@pytest.mark.parametrize("loss", [*TERMS, *REGRESSION, {"cross_entropy": 1, "variance": 0.001}])
def test_every_loss_trains(loss, faces, tmp_path):
    if loss == "variance":
        loss = {"variance": 0.001, "expectation_l2": 0.01}
    options = {"validation_fraction": 0, "max_epochs": 60, "lr": 1e-3, "dropout": 0}
    options |= {"hidden_layer_sizes": (), "precision": "float32"}
    model = tiny_model(5, loss=loss, **options)
    model.fit(faces.data, faces.target)
    first, last = (model.classifier_.history_[i]["train_loss"] for i in (0, -1))
    assert last < first
    ages = model.predict(faces.data)
    assert np.abs(ages - faces.target).mean() < np.abs(faces.target - 45).mean()
    model.save(tmp_path / "age.skage")
    import skage

    assert (skage.load(tmp_path / "age.skage").predict(faces.data) == ages).all()


@pytest.mark.parametrize("encoding", ["gaussian", "sord", "two_hot"])
def test_every_encoding_trains(encoding, faces):
    model = tiny_model(5, validation_fraction=0, max_epochs=15, batch_size=8, lr=3e-3)
    model.set_params(binner__encoding=encoding, binner__sigma=8)
    ages = model.fit(faces.data, faces.target).predict(faces.data)
    hard = model.set_params(binner__encoding="hard").fit(faces.data, faces.target)
    assert (hard.predict(faces.data) != ages).all()
    assert np.abs(ages - faces.target).mean() < np.abs(faces.target - 45).mean()


def test_apparent_ages_bring_their_own_spread(faces):
    model = tiny_model(5, validation_fraction=0, max_epochs=3)
    model.set_params(binner__encoding="gaussian")
    sure = model.fit(faces.data, faces.target, age_std=np.full(40, 0.1)).predict_dist(faces.data)
    unsure = model.fit(faces.data, faces.target, age_std=np.full(40, 60.0)).predict_dist(faces.data)
    assert np.abs(sure - unsure).max() > 0.01
    model.set_params(binner__encoding="hard")
    with pytest.raises(ValueError, match="need encoding='gaussian'"):
        model.fit(faces.data, faces.target, age_std=np.ones(40))


def test_a_classifier_of_labels_learns_no_distributions():
    model = BinnedAgeRegressor(LogisticRegression(), AgeBinner(2, encoding="gaussian"))
    with pytest.raises(TypeError, match="LogisticRegression learns labels, not distributions"):
        model.fit([[0], [1]], [10, 20])


class TestEncode:
    def test_gaussian_is_the_mass_between_the_edges(self):
        binner = AgeBinner([0, 10, 30, 100], encoding="gaussian", sigma=5).fit([0, 100])
        below = norm.cdf([10, 30], 12, 5)
        expected = np.diff([0, *below, 1])
        assert binner.encode([12])[0] == pytest.approx(expected, abs=1e-6)
        assert binner.encode([12], [5])[0] == pytest.approx(expected, abs=1e-6)
        assert binner.encode([10, 9.9], [0, 0]).tolist() == [[0, 1, 0], [1, 0, 0]]
        for wrong in ([-1], [np.nan], [1, 2]):
            with pytest.raises(ValueError, match="std"):
                binner.encode([12], wrong)

    def test_two_hot_keeps_the_age(self):
        ages = np.array([20.0, 25, 33, 41, 60])
        binner = AgeBinner(3, encoding="two_hot").fit(ages)
        v = binner.bin_values_
        kept = np.clip(ages, v[0], v[-1])
        assert binner.encode(ages) @ v == pytest.approx(kept, abs=1e-5)

    def test_sord_falls_with_the_distance(self):
        binner = AgeBinner([0, 10, 20, 30], representative="midpoint", encoding="sord", sigma=10)
        found = binner.fit([0, 30]).encode([5])[0]
        assert found / found[0] == pytest.approx(np.exp([0, -1, -2]), abs=1e-6)

    def test_hard_is_the_code(self):
        binner = AgeBinner(3).fit([10, 20, 30])
        assert binner.encode([12, 30]).tolist() == [[1, 0, 0], [0, 0, 1]]

    @pytest.mark.parametrize("encoding", ["hard", "gaussian", "sord", "two_hot"])
    def test_one_bin(self, encoding):
        assert AgeBinner(1, encoding=encoding).fit([3, 9]).encode([5.0, 99]).tolist() == [[1], [1]]


@pytest.mark.parametrize("loss", ["cross_entropy", "cumulative", "ranked_probability", "l1"])
def test_one_age_is_learned_too(loss, faces):
    model = tiny_model(3, loss=loss)
    with pytest.warns(UserWarning, match="1 bin"):
        model.fit(faces.data, np.full(len(faces.data), 30.0))
    assert model.predict(faces.data) == pytest.approx(30)


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_counts_errors_in_spreads_of_the_bins(name):
    criterion = Criterion({name: 1}, VALUES)
    spread = VALUES.std(correction=0).item()
    age = VALUES.mean().item() + 0.5 * spread
    targets = {"codes": torch.tensor([0]), "ages": torch.tensor([age - 2 * spread])}
    loss = criterion(torch.tensor([[0.5]]), targets | {"weight": torch.ones(1)})
    assert loss.item() == pytest.approx(2)


def test_regression_learns_no_distributions(faces):
    model = tiny_model(3, loss="l1").set_params(binner__encoding="gaussian")
    with pytest.raises(
        ValueError, match="regresses the age itself and does not learn distributions"
    ):
        model.fit(faces.data, faces.target)


@pytest.mark.parametrize(
    ("labels", "columns", "message"),
    [
        (["a", "b"], 2, "targets has 2 bins, but the labels are .* whole numbers from 0 to 1"),
        ([0, 2], 2, r"targets has 2 bins, but the labels are \[0 2\]"),
    ],
)
def test_distributions_are_of_the_labels(labels, columns, message, faces):
    y = np.array(labels)[np.arange(len(faces.data)) % 2]
    targets = AgeTargets(faces.target, np.arange(columns), np.ones((len(y), columns)))
    with pytest.raises(ValueError, match=message):
        tiny_classifier().fit(faces.data, y, targets=targets)
