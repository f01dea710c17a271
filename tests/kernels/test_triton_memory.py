"""What the Triton kernels read and write: every element once, and nothing beside them."""

import itertools

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from bn.kernels import triton_gpu  # noqa: E402
from bn.kernels.triton_gpu import grid  # noqa: E402
from bn.kernels.triton_gpu.tile import part_of, place  # noqa: E402

NEEDS_INTERPRETER = not triton_gpu.can_run()
if NEEDS_INTERPRETER:
    reason = "no GPU here; test_triton_interpreted.py runs it in the interpreter"
    pytest.skip(reason, allow_module_level=True)

DEVICE = "cpu" if triton_gpu.interpreted() else "cuda"


@pytest.fixture(params=["on chip", "in parts"])
def way(request, monkeypatch):
    if request.param == "in parts":
        monkeypatch.setattr(grid, "ON_CHIP", 0)
        monkeypatch.setattr(grid, "TILE", 64)
        monkeypatch.setattr(grid, "RUN", 16)


@triton.jit
def visit(
    seen_ptr, values_ptr, parts, rows, channels, length,
    block_rows: tl.constexpr, block_channels: tl.constexpr, block_length: tl.constexpr,
    align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Count the visits of each element, and write the count of each part of each channel."""
    program = tl.program_id(0)
    at, inside, channel, start, count = place(
        program, rows, channels, length, block_rows, block_channels, block_length, align, wide
    )
    tl.store(seen_ptr + at, tl.load(seen_ptr + at, mask=inside, other=0) + 1, mask=inside)
    first = tl.load(seen_ptr + start, mask=channel < channels, other=1)
    tl.device_assert(first == 1, "the first value of a tile is one of its own")
    part = part_of(program, channels, length, block_channels, block_length)
    tl.store(values_ptr + channel * parts + part, count, mask=channel < channels)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 3, 1), (33, 17, 1), (33, 9, 2), (5, 3, 7), (9, 17, 49), (3, 2, 300)]
)
@pytest.mark.parametrize("which", ["whole", "parts"])
def test_the_tiles_cover_everything_once(monkeypatch, shape, which):
    view = grid.View(*shape)
    rows, channels, length = shape
    monkeypatch.setattr(grid, "TILE", 256)
    monkeypatch.setattr(grid, "PROGRAMS", 2)
    tiles = (grid.whole_channels if which == "whole" else grid.parts_of_channels)(view, 4, 1)
    assert tiles is not None
    seen = torch.zeros(rows * channels * length, dtype=torch.int32, device=DEVICE)
    counts = torch.zeros(channels, tiles.parts, dtype=torch.int32, device=DEVICE)
    visit[(tiles.programs,)](seen, counts, tiles.parts, **tiles.arguments())
    assert (seen == 1).all()
    assert (counts > 0).all()
    assert (counts.sum(1) == rows * length).all()
    assert which == "parts" or tiles.parts == 1


def surrounded(values, around=torch.nan):
    """Return a copy of a tensor with other numbers before and after it, and all of the memory."""
    memory = torch.full((values.numel() + 200,), around, dtype=values.dtype, device=DEVICE)
    inner = memory[96 : 96 + values.numel()].as_strided(values.shape, values.stride(), 96)
    inner.copy_(values)
    return inner, memory


def outside_is(memory, numel, value):
    outside = torch.cat([memory[:96], memory[96 + numel :]])
    return outside.isnan().all() if value != value else (outside == value).all()


@pytest.mark.parametrize("last", [False, True])
def test_nothing_beside_the_tensors_is_touched(way, last):
    """Around what is read lies NaN, which would spread; what lies around y and dx stays."""
    shape, memory_format = (3, 5, 3, 7), torch.channels_last if last else torch.contiguous_format
    plain = [torch.randn(shape).to(memory_format=memory_format) for _ in range(3)]
    x, residual, dy = (surrounded(t)[0] for t in plain)
    (y, y_memory), (dx, dx_memory) = (surrounded(torch.zeros_like(plain[0]), 7.0) for _ in "yd")
    options = {"relu": True, "residual": residual}
    got, statistics = triton_gpu.forward(x, None, None, eps=1e-5, out=y, **options)
    gradients = triton_gpu.backward(dy, x, None, None, statistics, out=dx, **options)
    assert got is y
    assert gradients.dx is dx
    for memory in (y_memory, dx_memory):
        assert outside_is(memory, x.numel(), 7.0)
    assert all(values.isfinite().all() for values in (y, dx, *statistics, *gradients))
    again, _ = triton_gpu.forward(plain[0].to(DEVICE), None, None, eps=1e-5, relu=True,
                                  residual=plain[1].to(DEVICE))  # fmt: skip
    assert torch.equal(y, again)


def test_outputs_may_be_inputs(way):
    x, dy, residual = (torch.randn(5, 3, 6, device=DEVICE) for _ in range(3))
    options = {"relu": True, "residual": residual}
    y, statistics = triton_gpu.forward(x, None, None, eps=1e-5, **options)
    expected = triton_gpu.backward(dy, x, None, None, statistics, **options)
    spare = torch.empty_like(x)
    got = triton_gpu.backward(dy, x, None, None, statistics, out=dy, residual_out=spare, **options)
    assert got.dx is dy
    assert got.dresidual is spare
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)
    over = x.clone()
    assert triton_gpu.forward(over, None, None, eps=1e-5, out=over, **options)[0] is over
    assert torch.equal(over, y)
    # without a ReLU the residual's gradient is dy
    got = triton_gpu.backward(dy, x, None, None, statistics, residual=residual)
    assert got.dresidual is dy
    got = triton_gpu.backward(dy, x, None, None, statistics, residual=residual, residual_out=spare)
    assert got.dresidual is spare
    assert torch.equal(spare, dy)


def strange_layouts(x):
    """The same numbers in memory that the kernels cannot read as it is."""
    yield x.transpose(0, 2).contiguous().transpose(0, 2)
    yield torch.stack([x, x], dim=-1)[..., 0]
    yield x.flip(0).contiguous().flip(0)
    yield torch.cat([x, x], dim=1)[:, : x.shape[1]]


def test_other_layouts(way):
    x, dy, residual = (torch.randn(4, 3, 5, device=DEVICE) for _ in range(3))
    options = {"relu": True, "residual": residual}
    y, statistics = triton_gpu.forward(x, None, None, eps=1e-5, **options)
    expected = triton_gpu.backward(dy, x, None, None, statistics, **options)
    for strange in strange_layouts(x):
        got, same = triton_gpu.forward(strange, None, None, eps=1e-5, **options)
        gradients = triton_gpu.backward(dy, strange, None, None, same, **options)
        assert got.stride() == gradients.dx.stride() == torch.empty_like(strange).stride()
        pairs = zip((y, *expected), (got, *gradients), strict=True)
        for a, b in itertools.islice(pairs, 5):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    # dy as sum().backward() gives it: one number, expanded
    ones = torch.ones((), device=DEVICE).expand(x.shape)
    assert triton_gpu.backward(ones, x, None, None, statistics).dx.abs().max() < 1e-6
