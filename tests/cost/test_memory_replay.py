"""Replayed memory: small computations whose bytes are counted by hand."""

import pytest
import torch
import torch.nn.functional as F

from attnlib.cost.memory_replay import attending, replay
from attnlib.models.layers import Attention

FLOAT = 4  # bytes


def test_chain_of_operations_holds_two_results_at_a_time():
    memory = replay(lambda: (lambda x: ((x + 1) * 2).exp(), (torch.rand(100),)))
    assert (memory.peak_bytes, memory.saved_bytes) == (2 * 100 * FLOAT, 0)


def test_result_that_is_kept_counts_to_the_end():
    def keep(x: torch.Tensor) -> torch.Tensor:
        kept = [x + place for place in range(5)]
        return kept[0] + kept[4]

    assert replay(lambda: (keep, (torch.rand(10),))).peak_bytes == 6 * 10 * FLOAT


def test_views_and_in_place_operations_take_no_memory():
    memory = replay(lambda: (lambda x: x.T.reshape(-1, 2)[1:].mul_(2), (torch.rand(2, 50),)))
    assert memory.peak_bytes == 0 or memory.peak_bytes == 100 * FLOAT  # reshape copies at most
    assert replay(lambda: (lambda x: x.view(4, 25).t(), (torch.rand(100),))).peak_bytes == 0


def test_autograd_keeps_what_the_backward_pass_needs():
    def prepare():
        weight = torch.rand(30, 20, requires_grad=True)
        return (lambda x: (x @ weight).exp().sum()), (torch.rand(10, 30),)

    with_grad, without = replay(prepare, grad=True), replay(prepare)
    assert with_grad.saved_bytes == 10 * 20 * FLOAT  # of exp; x and the weight were there before
    assert without.saved_bytes == 0
    assert with_grad.peak_bytes == without.peak_bytes == 2 * 10 * 20 * FLOAT


def test_one_storage_saved_twice_counts_once():
    def square(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        return (y * y).sum()

    memory = replay(lambda: (square, (torch.rand(50, requires_grad=True),)), grad=True)
    assert memory.saved_bytes == 50 * FLOAT


def test_fused_attention_keeps_no_weights_and_explicit_attention_does():
    shape, weights = (1, 3, 256, 64), 3 * 256 * 256 * FLOAT

    def prepare():
        return F.scaled_dot_product_attention, tuple(torch.rand(shape) for _ in range(3))

    assert replay(prepare).peak_bytes < weights / 2
    assert replay(prepare, attention="explicit").peak_bytes >= 2 * weights


def test_explicit_attention_computes_the_same():
    torch.manual_seed(0)
    layer, x = Attention(24, 3), torch.rand(2, 7, 24)
    fused = layer(x)
    with attending("explicit"):
        explicit = layer(x)
    torch.testing.assert_close(explicit, fused)
    assert not torch.equal(explicit, torch.zeros_like(explicit))


def test_unknown_attention_is_refused():
    with pytest.raises(ValueError, match="attention: expected fused or explicit; got 'sparse'"):
        attending("sparse")
