"""How the host cuts x into tiles, and what it says where the kernels cannot run."""

import random
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

from bn.kernels import triton_gpu  # noqa: E402
from bn.kernels.triton_gpu import grid, layout  # noqa: E402
from bn.kernels.triton_gpu.grid import View  # noqa: E402


def views():
    """Shapes of all sorts, small and large; with a fixed seed."""
    chance = random.Random(1)
    yield from (View(1, 1, 1), View(2**21, 1024, 1), View(1, 70_000, 3), View(3, 2, 2**24))
    for _ in range(500):
        sizes = [int(2 ** chance.uniform(0, 14)) for _ in range(3)]
        yield View(sizes[0], sizes[1], chance.choice([1, sizes[2]]))


@pytest.mark.parametrize("itemsize", [2, 4, 8])
@pytest.mark.parametrize("registers", [1, 2, 4])
def test_tiles_are_of_a_size_that_fits(itemsize, registers):
    for view in views():
        for tiles, limit in (
            (grid.whole_channels(view, itemsize, registers), grid.ON_CHIP),
            (grid.parts_of_channels(view, itemsize, registers), grid.TILE),
        ):
            if tiles is None:
                continue
            size = tiles.block_rows * tiles.block_channels * tiles.block_length
            assert size & (size - 1) == 0, "powers of two"
            assert size * registers <= limit
            assert tiles.warps in (1, 2, 4, 8, 16)
            assert size * registers <= tiles.warps * grid.PER_WARP
            assert tiles.programs < 2**31
            covered = tiles.parts * tiles.block_rows * tiles.block_length
            assert covered >= view.rows * view.length


def test_where_a_channel_fits_there_is_one_part():
    for view in views():
        tiles = grid.whole_channels(view, 4, 1)
        if view.rows * view.length <= 1024 or tiles is not None:
            assert tiles is not None
            assert tiles.parts == 1


def test_which_way_resnet_50_goes():
    """At 32 images: the last two stages in one kernel, the others in three."""
    for channels, size in ((64, 112), (256, 56), (512, 28)):
        assert grid.whole_channels(View(32, channels, size * size), 2, 1) is None
    for channels, size in ((1024, 14), (2048, 7)):
        assert grid.whole_channels(View(32, channels, size * size), 2, 1) is not None


def test_little_of_a_tile_is_padding():
    """Lanes outside of x do nothing; in large planes they are few."""
    for size in (16, 28, 32, 56, 64, 112, 128, 224):
        tiles = grid.parts_of_channels(View(64, 64, size * size), 4, 1)
        assert tiles.block_rows * tiles.block_length == grid.TILE, "and a tile is full"
        computed = grid.blocks(size * size, tiles.block_length) * tiles.block_length
        assert computed <= 1.31 * size * size


@pytest.mark.parametrize("length", [1, 3, 4, 12, 49, 196, 3136])
def test_alignment_divides(length):
    align = grid.alignment(length)
    assert length % align == 0
    assert align == 16 or length % (2 * align) != 0


def test_offsets_become_wide_in_time():
    for view, wide in ((View(2**10, 2**10, 2**9), False), (View(2**11, 2**10, 2**10), True)):
        assert grid.parts_of_channels(view, 2, 1).arguments()["wide"] == wide


def test_views():
    x = torch.empty(2, 3, 4, 5)
    assert layout.view_of(x, 1) == View(2, 3, 20)
    assert layout.view_of(x, 3) == View(24, 5, 1)
    assert layout.view_of(x, 0) == View(1, 2, 60)
    last = x.to(memory_format=torch.channels_last)
    assert layout.readable(last, 1) is last
    assert layout.view_of(last, 1) == View(40, 3, 1)
    assert layout.readable(last, 2).is_contiguous()


def test_without_a_gpu_it_says_what_to_do():
    if torch.cuda.is_available() or triton_gpu.interpreted():
        assert triton_gpu.problem() is None
        assert triton_gpu.can_run()
    else:
        assert "TRITON_INTERPRET=1" in triton_gpu.problem()
        assert not triton_gpu.can_run()


@pytest.mark.parametrize("missing", ["triton", "torch"])
def test_without_a_package_it_says_what_to_do(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import bn, bn.kernels.triton_gpu"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: bn.kernels.triton_gpu needs PyTorch and Triton"), last
    assert "pip install" in last


def test_nothing_else_imports_triton():
    code = "import sys, bn, bn.kernels; sys.exit('triton' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
