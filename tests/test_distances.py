import pytest
import torch
from scipy.spatial.distance import cdist
from torch.autograd import gradcheck

from reid_lightning.distances import exact_products, pairwise_distances, unit_vectors

METRICS = ["euclidean", "sqeuclidean", "cosine"]


@pytest.mark.parametrize("distance", METRICS)
def test_equals_scipy(distance):
    x, y = torch.randn(7, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    expected = torch.from_numpy(cdist(x.numpy(), y.numpy(), distance))
    torch.testing.assert_close(pairwise_distances(x, y, distance), expected, rtol=1e-12, atol=1e-12)
    itself = torch.from_numpy(cdist(x.numpy(), x.numpy(), distance))
    torch.testing.assert_close(pairwise_distances(x, distance=distance), itself, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("distance", METRICS)
def test_gradient_is_right(distance):
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a, b: pairwise_distances(a, b, distance), (x, y))


def test_gradient_is_zero_at_coincident_vectors():
    x = torch.randn(1, 64).expand(6, 64).clone().requires_grad_()
    distances = pairwise_distances(x)
    assert torch.equal(distances, torch.zeros(6, 6))
    distances.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_duplicates_among_others_coincide_exactly():
    x = torch.randn(50, 2048) + 10
    x[30:] = x[:20]
    distances = pairwise_distances(x.requires_grad_())
    assert distances[torch.arange(20), torch.arange(30, 50)].eq(0).all()
    distances.sum().backward()
    assert x.grad.isfinite().all()


def test_zero_vector_is_at_cosine_distance_one_without_gradient():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    distances = pairwise_distances(x, distance="cosine")
    assert distances.tolist() == [[1, 1], [1, 0]]
    distances.sum().backward()
    assert torch.equal(x.grad[0], torch.zeros(2))
    assert unit_vectors(torch.full((1, 4), 1e-30)).isfinite().all()


def test_close_vectors_far_from_the_origin_keep_their_digits():
    x = 1000 + torch.randn(20, 16)
    expected = torch.from_numpy(cdist(x.double().numpy(), x.double().numpy()))
    torch.testing.assert_close(pairwise_distances(x).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("distance", METRICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(distance, dtype):
    x = torch.randn(6, 8).to(dtype)
    distances = pairwise_distances(x, distance=distance)
    assert distances.dtype == torch.float32
    assert torch.equal(distances, pairwise_distances(x.float(), distance=distance))


def product_settings():
    settings = [torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision]
    for read in (torch.get_float32_matmul_precision, lambda: torch.backends.cuda.matmul.allow_tf32):
        try:
            settings.append(read())
        except RuntimeError:
            settings.append("set by the other interface")
    return settings


@pytest.fixture(params=["nothing", "older interface", "newer interface", "newer interface for all"])
def reduced_precision(request):
    """Reduced precision asked for in each of torch's ways."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = torch.backends.fp32_precision, [backend.fp32_precision for backend in backends]
    if request.param == "older interface":
        torch.set_float32_matmul_precision("medium")
    elif request.param == "newer interface":
        for backend in backends:
            backend.fp32_precision = "tf32"
    elif request.param == "newer interface for all":
        torch.backends.fp32_precision = "tf32"
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.fp32_precision = before[0]
    for backend, precision in zip(backends, before[1], strict=True):
        backend.fp32_precision = precision


@pytest.mark.parametrize("distance", METRICS)
def test_autocast_and_reduced_precision_change_nothing(distance, reduced_precision):
    torch.manual_seed(0)
    x = torch.randn(40, 512)
    settings = product_settings()
    with torch.autocast("cpu", torch.bfloat16):
        reduced = pairwise_distances(x, distance=distance)
        assert torch.is_autocast_enabled("cpu")
    assert product_settings() == settings
    exact = pairwise_distances(x.double(), distance=distance).float()
    if distance == "euclidean":  # the root of a vector's rounding beside itself is larger than the rounding
        reduced, exact = reduced.square(), exact.square()
    torch.testing.assert_close(reduced, exact, rtol=1e-5, atol=1e-5 * exact.max().item())


def test_inside_the_guard_products_are_exact_and_both_interfaces_agree(reduced_precision):
    with exact_products(torch.device("cpu")):
        *backends, legacy, autocast = product_settings()
        # "none" follows torch's setting for all, which is exact when the older interface can say "highest".
        assert set(backends) <= {"ieee", "none"}
        assert (legacy, autocast) == ("highest", False)


@pytest.mark.parametrize("distance", METRICS)
def test_never_negative_and_empty_tables_work(distance):
    x = torch.randn(30, 3).repeat(2, 1) * 100
    assert pairwise_distances(x, distance=distance).min() >= 0
    assert pairwise_distances(x[:0], x, distance).shape == (0, 60)
    assert pairwise_distances(x, x[:0], distance).shape == (60, 0)


def test_wrong_metric_and_shapes_are_named():
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"^distance must be one of euclidean, .* got manhattan"):
        pairwise_distances(x, distance="manhattan")
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 5\)"):
        pairwise_distances(x, torch.randn(2, 5))
