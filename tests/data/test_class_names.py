"""Classes of one data set in terms of another's: by name, or as the user says."""

import numpy as np
import pytest

from attnlib.data.class_names import match_classes, relabel
from attnlib.data.datasets import Split


def test_classes_belong_together_by_name_whatever_their_case_and_order():
    assert match_classes(["Dog", "cat", "tree"], ["cat", "dog"]) == [1, 0, None]


def test_names_that_differ_in_case_only_are_told_apart():
    assert match_classes(["a", "A"], ["A", "a"]) == [1, 0]


def test_what_the_user_says_counts_more_than_the_name_and_may_join_classes():
    given = {"cat": "dog", "tabby": "cat"}
    assert match_classes(["cat", "tabby", "dog"], ["cat", "dog"], given) == [1, 0, 1]


def test_labels_become_the_networks_and_images_stay_with_theirs():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    split = Split(images, np.array([0, 1, 2, 1, 0]), np.arange(10, 15))
    fitted = relabel(split, [3, None, 0])
    assert fitted.labels.tolist() == [3, 0, 3] and fitted.indices.tolist() == [10, 12, 14]
    assert fitted.images[:, 0, 0, 0].tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cta": "dog"}, "the data set has no class 'cta'. Did you mean 'cat'"),
        ({"cat": "dgo"}, "the network has no class 'dgo'. Did you mean 'dog'"),
    ],
)
def test_a_misspelt_class_is_refused_with_the_nearest(given, told):
    with pytest.raises(ValueError, match=told):
        match_classes(["cat"], ["dog"], given)


def test_classes_without_any_in_common_are_refused():
    with pytest.raises(ValueError, match="as in cat=dog"):
        match_classes(["cat"], ["dog"])
