import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import Bunch

import skage
from skage.splits import AgeStratifiedGroupKFold, published_split


@pytest.fixture(scope="module")
def people():
    """600 images of 120 persons, whose ages lie near one another."""
    rng = np.random.RandomState(0)
    person = np.repeat(np.arange(120), 5)
    return rng.uniform(5, 80, 120)[person] + rng.randint(0, 8, 600), person


def test_folds_part_no_person_and_are_alike_in_age(people):
    ages, person = people
    folds = list(AgeStratifiedGroupKFold(4).split(ages, ages, person))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(600))
    for train, test in folds:
        assert not set(person[train]) & set(person[test])
        quartiles = np.quantile(ages[test], [0.25, 0.5, 0.75])
        assert np.abs(quartiles - np.quantile(ages, [0.25, 0.5, 0.75])).max() < 6


def test_is_an_ordinary_splitter(people):
    ages, person = people
    X = ages[:, None]
    cv = AgeStratifiedGroupKFold(3, n_bins=5, shuffle=True, random_state=0)
    assert repr(cv) == "AgeStratifiedGroupKFold(n_bins=5, n_splits=3, random_state=0, shuffle=True)"
    assert len(cross_val_score(DummyRegressor(), X, ages, groups=person, cv=cv)) == 3
    first, again = (next(cv.split(X, ages, person))[1] for _ in range(2))
    assert first.tolist() == again.tolist()


@pytest.mark.parametrize(
    ("ages", "groups", "n_splits"),
    [
        ([30] * 6, range(6), 3),
        ([30, 30, 30, 40], range(4), 2),
        (range(20, 29), [0, 0, 0, 1, 1, 1, 2, 2, 2], 3),
        (range(2), range(2), 2),
    ],
)
def test_few_ages_or_groups_are_enough(ages, groups, n_splits):
    folds = list(AgeStratifiedGroupKFold(n_splits).split(list(ages), list(ages), list(groups)))
    assert len(folds) == n_splits
    assert all(len(test) for _, test in folds)


@pytest.mark.parametrize("n_bins", [0, -1])
def test_there_is_at_least_one_age_class(n_bins, people):
    ages, person = people
    with pytest.raises(ValueError, match=f"n_bins={n_bins} is not valid"):
        AgeStratifiedGroupKFold(n_bins=n_bins).split(ages, ages, person)
    next(AgeStratifiedGroupKFold(n_bins=1).split(ages, ages, person))


def test_groups_are_needed(people):
    ages, person = people
    with pytest.raises(ValueError, match="needs groups to keep each person in one fold"):
        AgeStratifiedGroupKFold().split(ages, ages)
    with pytest.raises(ValueError, match=r"number of groups \(120\)"):
        AgeStratifiedGroupKFold(121).split(ages, ages, person)


@pytest.fixture
def faces():
    split = ["train", "train", "valid", "test", "test", None]
    return Bunch(frame=pd.DataFrame({"split": split}), groups=np.array([0, 1, 2, 3, 4, 0]))


def test_published_split_serves_as_cv(faces):
    cv = published_split(faces)
    assert [rows.tolist() for rows in cv[0]] == [[0, 1, 2], [3, 4]]
    X, y = np.zeros((6, 1)), np.arange(6.0)
    search = GridSearchCV(DummyRegressor(), {"strategy": ["mean", "median"]}, cv=cv).fit(X, y)
    assert search.n_splits_ == 1
    assert published_split(faces, train="train", test="valid")[0][1].tolist() == [2]


def test_published_split_tells_what_it_lacks(faces):
    with pytest.raises(ValueError, match="split has no part 'dev'; it has test, train, valid"):
        published_split(faces, test="dev")
    with pytest.raises(ValueError, match="Cannot both train and test on test"):
        published_split(faces, train=("train", "test"))
    with pytest.raises(ValueError, match="no published split"):
        published_split(Bunch(frame=pd.DataFrame({"age": [3]})))
    without_test = Bunch(frame=faces.frame[:3], groups=faces.groups[:3])
    with pytest.raises(ValueError, match=r'has train, valid. Pass train="train", test="valid"\.'):
        published_split(without_test)


def test_parts_of_a_split_may_be_numbers(faces):
    faces.frame = pd.DataFrame({"split": [1, 1, 2, 3, 3, np.nan]})
    [(train, test)] = published_split(faces, train=(1, 2), test=3)
    assert (train.tolist(), test.tolist()) == ([0, 1, 2], [3, 4])
    with pytest.raises(ValueError, match=r"split has no part 'train'; it has 1.0, 2.0, 3.0\."):
        published_split(faces)


@pytest.mark.parametrize("nobody", [None, np.nan])
def test_a_sample_without_a_group_is_told(nobody):
    groups = [0.0, 1.0, nobody, 2.0]
    with pytest.raises(
        ValueError, match=r"groups\[2\] is missing\. Give each sample of an unknown"
    ):
        next(AgeStratifiedGroupKFold(2).split(range(4), range(4), groups))


def test_a_person_on_both_sides_is_told(faces):
    faces.groups[[3, 4]] = 1
    with pytest.warns(UserWarning, match=r"1 groups .* with 2 of its 2 test images"):
        published_split(faces)


def test_is_public():
    assert skage.splits.published_split is published_split
