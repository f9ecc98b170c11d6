"""The interface of samplers: it can be instantiated, and nothing in it works."""

from __future__ import annotations

import inspect

import pytest

from ndsampler.abstract_sampler import AbstractSampler

PROPERTIES = ["class_ids", "image_ids", "n_positives"]

CALLS = {
    "load_image": (1,),
    "load_item": (0,),
    "load_negative": (),
    "load_positive": (),
    "load_sample": ({"aid": 1},),
    "lookup_class_id": ("star",),
    "lookup_class_name": (1,),
    "preselect": (),
}

DOCUMENTED_SIGNATURES = {
    "load_sample": "(self, tr, pad=None, window_dims=None, visible_thresh=0.1)",
    "load_item": "(self, index, pad=None, window_dims=None)",
    "load_positive": "(self, index=None, pad=None, window_dims=None, rng=None)",
    "load_negative": "(self, index=None, pad=None, window_dims=None, rng=None)",
    "preselect": "(self, **kwargs)",
}


def without_annotations(function):
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_every_public_member_is_covered_here():
    public = {name for name in dir(AbstractSampler) if not name.startswith("_")}
    assert public == {*PROPERTIES, *CALLS}


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_raises_not_implemented_and_names_itself(name):
    with pytest.raises(NotImplementedError, match=f"AbstractSampler does not implement {name}"):
        getattr(AbstractSampler(), name)


@pytest.mark.parametrize(("name", "args"), CALLS.items())
def test_a_method_raises_not_implemented_and_names_itself(name, args):
    with pytest.raises(NotImplementedError, match=f"AbstractSampler does not implement {name}"):
        getattr(AbstractSampler(), name)(*args)


@pytest.mark.parametrize(("name", "signature"), DOCUMENTED_SIGNATURES.items())
def test_the_signatures_are_the_documented_ones(name, signature):
    assert without_annotations(getattr(AbstractSampler, name)) == signature
