"""A digest tells bits, dtype and shape apart, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastsa.runtime.equivalence.digest import digest

DTYPES = [
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float8_e4m3fn,
    torch.complex64,
    torch.int64,
    torch.bool,
]


def some(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.arange(24).reshape(4, 6).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_changed_element(dtype: torch.dtype) -> None:
    one, other = some(dtype), some(dtype)
    assert digest(one) == digest(other)
    other[3, 5] = 0
    assert digest(one) != digest(other)


def test_bits_that_compare_equal() -> None:
    assert digest(torch.tensor(0.0)) != digest(torch.tensor(-0.0))
    assert digest(torch.tensor(float("nan"))) == digest(torch.tensor(float("nan")))


def test_dtype_and_shape() -> None:
    zeros = torch.zeros(4, 6)
    others = [zeros.view(torch.int32), zeros.reshape(6, 4), zeros.double(), torch.zeros(0)]
    assert len({digest(each) for each in (zeros, *others)}) == 5


@pytest.mark.parametrize(
    "laid_out",
    [
        lambda t: t.t().contiguous().t(),
        lambda t: torch.stack([t, t])[1],
        lambda t: torch.cat([t, t], 1)[:, :6],
        lambda t: t.clone().requires_grad_(),
    ],
    ids=["transposed", "offset", "gaps", "requires grad"],
)
def test_not_how_it_lies_in_memory(laid_out: object) -> None:
    assert callable(laid_out)
    assert digest(laid_out(some())) == digest(some())


def test_views_that_are_computed_late() -> None:
    number = torch.complex(some(), some() + 1)
    assert digest(number.conj()) == digest(number.conj().resolve_conj())
    assert digest(number.conj()) != digest(number)


def test_sparse() -> None:
    one, other = some().to_sparse(), (2 * some()).to_sparse()
    assert digest(one) == digest(some().to_sparse())
    assert digest(one) != digest(other)
    assert digest(some().to_sparse_csr()) == digest(some())


def test_of_two_tensors_in_one() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    one, other = TwoTensor(some(), some()), TwoTensor(some(), some() + 1)
    assert digest(one) != digest(other)


def test_it_draws_no_random_numbers_and_keeps_nothing() -> None:
    state = torch.get_rng_state()
    tensor = some().requires_grad_()
    digest(tensor)
    assert torch.equal(torch.get_rng_state(), state)
    assert tensor.grad_fn is None
