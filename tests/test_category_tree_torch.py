"""Category trees on torch tensors: the answers of arrays, and gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers_categories import SOFTMAXES, letters_tree, tree_of, trees, trees_and_energies
from helpers_optional import import_optional
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.category_tree import CategoryTree, entropy, gini
from ndsampler.errors import NDSamplerError

torch = import_optional("torch")

FLOATS = ["float16", "bfloat16", "float32", "float64"]

INTEGERS = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


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


@pytest.mark.parametrize("dtype", FLOATS)
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


@settings(max_examples=15)
@given(tree=trees(), seed=st.integers(0, 2**31))
def test_gradients_of_images_are_the_numerical_ones(tree, seed):
    state = torch.Generator().manual_seed(seed)
    energy = torch.randn(2, len(tree), 2, 3, dtype=torch.float64, generator=state, requires_grad=True)
    targets = torch.randint(0, len(tree), (2, 2, 3), generator=state)
    targets[0, 0, 0] = -100
    assert torch.autograd.gradcheck(lambda data: tree.hierarchical_cross_entropy(data, targets), (energy,))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 5), (2, 3, 5, 2)])
def test_losses_of_flat_categories_are_those_of_torch(shape, reduction):
    flat = CategoryTree.from_mutex(list("abcdef"), bg_hack=False)
    energy = torch.randn(*shape[:1], 6, *shape[1:], requires_grad=True)
    reference = energy.detach().clone().requires_grad_()
    targets = torch.randint(0, 6, shape)
    if shape:
        targets.view(-1)[0] = -100
    found = flat.hierarchical_cross_entropy(energy, targets, reduction)
    expected = torch.nn.functional.cross_entropy(reference, targets, reduction=reduction)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(energy.grad, reference.grad)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_segmentation_network_trains_in_every_precision(letters, dtype):
    layer = torch.nn.Conv2d(3, 5, 1).to(getattr(torch, dtype))
    images = torch.randn(2, 3, 4, 6).to(getattr(torch, dtype))
    targets = torch.randint(0, 5, (2, 4, 6))
    losses = []
    for _ in range(8):
        loss = letters.hierarchical_cross_entropy(layer(images), targets)
        layer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in layer.parameters():
                weight -= 0.5 * weight.grad
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_targets_may_be_whole_numbers_of_any_width(letters, dtype, kind):
    energy = np.random.RandomState(0).randn(4, 5)
    targets = np.array([0, 4, 2, 3], dtype)
    expected = letters.hierarchical_cross_entropy(energy, targets.astype(np.int64))
    given_targets = targets if kind == "array" else torch.from_numpy(targets)
    for scores in [energy, torch.from_numpy(energy)]:
        np.testing.assert_allclose(letters.hierarchical_cross_entropy(scores, given_targets), expected)


def test_a_byte_that_equals_minus_100_is_no_item_to_ignore():
    wide = tree_of([None] * 200)
    energy = torch.randn(2, 200)
    targets = torch.tensor([156, 3])
    assert -100 % 256 == 156
    expected = torch.nn.functional.cross_entropy(energy, targets)
    torch.testing.assert_close(wide.hierarchical_cross_entropy(energy, targets.to(torch.uint8)), expected)


#: Name to (scores, targets, the builtin that 0.8.1 or numpy raise, words of the message).
BAD_TARGETS = {
    "-1": (
        (4, 5),
        [0, -1, 2, 3],
        IndexError,
        "range from -1 to 3; expected indexes of .*, from 0 to 4",
    ),
    "too high": ((4, 5), [0, 5, 2, 3], IndexError, "range from 0 to 5; expected indexes"),
    "floats": (
        (4, 5),
        [0.0, 1.0, 2.0, 3.0],
        ValueError,
        "the type .*float64; expected one index",
    ),
    "booleans": ((4, 5), [True, False, True, True], ValueError, "the type .*bool; expected one index"),
    "one-hot": ((4, 5), np.eye(5, dtype=int)[:4], ValueError, r"shape \(4, 5\).*for each item, \(4,\)"),
    "a column": ((4, 5), [[0], [1], [2], [3]], ValueError, r"shape \(4, 1\).*for each item, \(4,\)"),
    "a single one": ((4, 5), 3, ValueError, r"shape \(\).*for each item, \(4,\)"),
    "an image": ((2, 5, 3, 4), np.zeros((2, 4, 3), int), ValueError, r"for each item, \(2, 3, 4\)"),
    "a scalar score": (
        (),
        0,
        IndexError,
        "single number; expected an array with one entry",
    ),
    "wrong scores": ((4, 6), [0, 1, 2, 3], ValueError, "has 6 entries; expected one for each of 5"),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_targets_that_are_no_categories_are_refused_alike(letters, name, kind):
    shape, targets, builtin, words = BAD_TARGETS[name]
    scores = kind(np.zeros(shape))
    for loss in [letters.hierarchical_cross_entropy, letters.hierarchical_nll_loss]:
        with pytest.raises(builtin, match=words) as caught:
            loss(scores, kind(np.asarray(targets)))
        assert isinstance(caught.value, NDSamplerError)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
@pytest.mark.parametrize("name", [*SOFTMAXES, "decision"])
def test_an_axis_that_does_not_exist_is_refused_alike(letters, name, kind):
    scores = kind(np.full((2, 5), 0.2))
    for dim in [2, -3]:
        with pytest.raises(IndexError, match=rf"dim is {dim}; .* axis of the shape \(2, 5\)") as caught:
            getattr(letters, name)(scores, dim)
        assert isinstance(caught.value, NDSamplerError)
    for dim in ["a", None, 1.5, (0, 1), True]:
        with pytest.raises(TypeError, match="expected the number of an axis") as caught:
            getattr(letters, name)(scores, dim)
        assert isinstance(caught.value, NDSamplerError)
    with pytest.raises(IndexError, match="expected an array with one entry for each category"):
        getattr(letters, name)(kind(np.float64(3)), 0)
    with pytest.raises(ValueError, match="complex128; expected real numbers"):
        getattr(letters, name)(kind(np.zeros((2, 5), complex)), 1)


def test_probabilities_for_tests_grow_more_certain(letters):
    probs = letters._demo_probs(num=7, nonrandom=4)
    assert (probs.shape, probs.dtype) == ((7, 5), torch.float32)
    energy = np.random.RandomState(0).rand(7, 5).astype("float32")
    torch.testing.assert_close(probs[4:], letters.hierarchical_softmax(torch.from_numpy(energy), dim=1)[4:])
    assert probs[0].tolist() == [0.5, 0.25, 0.25, 0.25, 0.5]
    assert probs[3].tolist() == [1, 0, 1, 1, 0]
    idxs, conf = letters.decision(probs, dim=1)
    assert idxs[3] == letters.node_to_idx["d"]
    assert conf[3] == 1
    assert letters._demo_probs(num=0).shape == (0, 5)


def test_old_steps_of_the_arithmetic_give_what_their_successors_give(letters):
    energy = torch.randn(3, 5, dtype=torch.float64)
    conditional = letters.conditional_log_softmax(energy, dim=1)
    found = letters._apply_logprob_chain_rule(conditional, dim=1)
    torch.testing.assert_close(found, letters.source_log_softmax(energy, dim=1))
    probs = found.exp()
    idxs, conf = letters._prob_decision(probs, dim=1, thresh=0.4)
    assert idxs.tolist() == letters.decision(probs, 1, 0.4, "prob")[0].tolist()
    assert conf.tolist() == probs.numpy()[range(3), idxs].tolist()


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
