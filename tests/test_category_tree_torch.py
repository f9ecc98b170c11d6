"""Category trees on torch tensors: the answers of arrays, and gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers_categories import SOFTMAXES, letters_tree, trees_and_energies
from helpers_optional import import_optional
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.category_tree import entropy, gini

torch = import_optional("torch")


@pytest.fixture
def letters():
    return letters_tree()


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_tensors_get_the_same_probabilities_as_arrays(letters, name, dim):
    energy = np.moveaxis(np.random.RandomState(0).randn(3, 4, 5), -1, dim)
    found = getattr(letters, name)(torch.from_numpy(energy), dim=dim)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), getattr(letters, name)(energy, dim=dim), atol=1e-12)


@pytest.mark.parametrize(
    "row", [[-np.inf] * 5, [np.inf, 0, 0, 0, 0], [np.nan, 0, 0, 0, 0], [-np.inf, 0, 0, 0, 0]]
)
@pytest.mark.parametrize("name", SOFTMAXES)
def test_tensors_and_arrays_agree_on_infinities(letters, name, row):
    energy = np.array([row])
    found = getattr(letters, name)(torch.from_numpy(energy), dim=1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(getattr(letters, name)(energy, dim=1), found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_keep_their_type(letters, dtype):
    energy = torch.randn(3, 5).to(getattr(torch, dtype))
    for name in SOFTMAXES:
        assert getattr(letters, name)(energy, dim=1).dtype == energy.dtype
    assert letters.hierarchical_softmax(torch.ones(3, 5, dtype=torch.long), dim=1).dtype == torch.float64


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_tensors_get_the_same_losses_as_arrays(letters, reduction):
    energy = np.random.RandomState(0).randn(2, 5, 3)
    targets = np.array([[0, 3, -100], [4, 2, 1]])
    expected = letters.hierarchical_cross_entropy(energy, targets, reduction)
    for tensor_targets in [torch.from_numpy(targets), targets]:
        found = letters.hierarchical_cross_entropy(torch.from_numpy(energy), tensor_targets, reduction)
        np.testing.assert_allclose(found.numpy(), expected)
    log_probs = letters.hierarchical_log_softmax(energy, dim=1)
    found = letters.hierarchical_nll_loss(torch.from_numpy(log_probs), torch.from_numpy(targets))
    np.testing.assert_allclose(found.numpy(), letters.hierarchical_nll_loss(log_probs, targets))


@pytest.mark.parametrize("name", [*SOFTMAXES, "hierarchical_cross_entropy"])
def test_gradients_of_tensors_are_right(letters, name):
    energy = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    arg = torch.tensor([1, 3]) if name == "hierarchical_cross_entropy" else 1
    assert torch.autograd.gradcheck(lambda data: getattr(letters, name)(data, arg), (energy,))


@settings(max_examples=40)
@given(case=trees_and_energies(), criterion=st.sampled_from(["gini", "entropy", "prob"]))
def test_tensors_get_the_same_decisions_as_arrays(case, criterion):
    tree, energy = case
    probs = tree.hierarchical_softmax(energy, dim=1)
    for dtype in ["float32", "float64"]:
        given_probs = probs.astype(dtype)
        idxs, conf = tree.decision(given_probs, 1, 0.2, criterion)
        tensor_idxs, tensor_conf = tree.decision(torch.from_numpy(given_probs), 1, 0.2, criterion)
        assert isinstance(tensor_idxs, np.ndarray)
        assert tensor_idxs.tolist() == idxs.tolist()
        np.testing.assert_array_equal(tensor_conf.numpy(), conf)


def test_the_confidence_of_a_tensor_can_be_differentiated(letters):
    probs = torch.tensor([[0.6, 0.2, 0.4, 0.4, 0.4]], requires_grad=True)
    letters.decision(probs, dim=1, thresh=-1)[1].sum().backward()
    assert probs.grad.tolist() == [[0, 0, 0, 1, 0]]


def test_tensors_stay_on_their_device(letters):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    energy = torch.randn(4, 5, device="cuda")
    for name in SOFTMAXES:
        found = getattr(letters, name)(energy, dim=1)
        assert found.device == energy.device
        np.testing.assert_allclose(found.cpu(), getattr(letters, name)(energy.cpu(), dim=1), rtol=1e-4)
    assert letters.hierarchical_cross_entropy(energy, np.array([0, 1, 2, 3])).device == energy.device
    probs = letters.hierarchical_softmax(energy, dim=1)
    idxs, conf = letters.decision(probs, dim=1)
    assert conf.device == energy.device
    assert idxs.tolist() == letters.decision(probs.cpu(), dim=1)[0].tolist()


def test_tensors_get_the_same_impurities_as_arrays():
    probs = np.array([[0.5, 0.5, 0], [0.2, 0.2, 0.6]])
    for impurity in [gini, entropy]:
        for axis in [0, 1]:
            found = impurity(torch.from_numpy(probs), axis=axis)
            np.testing.assert_allclose(found.numpy(), impurity(probs, axis=axis))
