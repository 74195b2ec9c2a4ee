import pytest
import torch

from skage._networks.winograd import Conv2d


def both(n, side, c, k):
    torch.manual_seed(0)
    fast, plain = Conv2d(c, k, 3, padding=1), torch.nn.Conv2d(c, k, 3, padding=1)
    plain.load_state_dict(fast.state_dict())
    plain.double()
    x = torch.randn(n, c, *side)
    return fast, plain, x


@pytest.mark.parametrize("side", [(7, 7), (14, 14), (1, 1), (2, 3), (4, 9), (5, 8), (33, 40)])
@pytest.mark.parametrize("n", [1, 5])
def test_values_and_gradients_are_those_of_a_convolution(n, side):
    fast, plain, x = both(n, side, 64, 80)
    given, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    y, expected = fast(given), plain(exact)
    grad = torch.randn_like(y)
    y.backward(grad)
    expected.backward(grad.double())
    pairs = (
        (y, expected),
        (given.grad, exact.grad),
        (fast.weight.grad, plain.weight.grad),
        (fast.bias.grad, plain.bias.grad),
    )
    for found, wanted in pairs:
        assert torch.allclose(found.double(), wanted, rtol=0, atol=3e-5 * wanted.abs().max().item())


def test_only_training_in_float32_uses_winograds_algorithm():
    fast, plain, x = both(3, (7, 7), 64, 64)
    plain.float()
    assert (fast(x) != plain(x)).any()
    assert (fast.eval()(x) == plain(x)).all()
    fast.train()
    with torch.autocast("cpu", torch.bfloat16):
        assert (fast(x) == plain(x)).all()
    narrow = Conv2d(3, 64, 3, padding=1)
    expected = torch.nn.functional.conv2d(x[:, :3], narrow.weight, narrow.bias, padding=1)
    assert (narrow(x[:, :3]) == expected).all()


def test_training_gives_the_same_bits_each_time():
    results = []
    for _ in range(3):
        fast, _, x = both(32, (7, 7), 128, 128)
        y = fast(x.requires_grad_())
        y.square().sum().backward()
        results.append((y, x.grad, fast.weight.grad, fast.bias.grad))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_frozen_input_gets_no_gradient():
    fast, _, x = both(2, (7, 7), 64, 64)
    fast(x).sum().backward()
    assert x.grad is None
    assert fast.weight.grad is not None
