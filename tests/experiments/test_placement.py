"""Places of batch norm on CIFAR-10, and statistics per position, on small made-up data."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from bn.experiments import placement, record
from bn.experiments.placement import (
    BatchNormPositions,
    Config,
    arms,
    around_relus,
    per_position,
)
from bn.experiments.trial import run
from bn.experiments.variants import variant_network
from bn.reference import batch_norm_forward


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))


@pytest.fixture
def data(photographs):
    return photographs(8)


SHORT = Config(batch_norm=True, lr=0.05, epochs=3, batch_size=16, shift=1)


# paper: s32-maps
def test_statistics_of_positions_and_of_maps(rng):
    x = rng.standard_normal((6, 2, 3, 3)).astype(np.float32)
    layer = BatchNormPositions(2, 3)
    each, cache = batch_norm_forward(x.reshape(6, 18))
    assert cache.count[0] == 6
    y = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, each.reshape(x.shape), atol=1e-5)
    assert sum(p.numel() for p in layer.parameters()) == 2 * 2 * 9
    _, cache = batch_norm_forward(x)
    assert list(cache.count) == [6 * 9] * 2


def test_only_the_norms_of_maps_are_replaced():
    network = variant_network(norm="before", generator=torch.Generator().manual_seed(0))
    other = per_position(network, 32)
    found = [m for m in other if isinstance(m, BatchNormPositions)]
    assert [m.norm.num_features for m in found] == [16 * 32**2, 32 * 16**2, 32 * 8**2]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in other) == 1
    assert not any(isinstance(m, nn.BatchNorm2d) for m in other)
    assert other(torch.zeros(2, 3, 32, 32)).shape == (2, 10)

    def count(network, norms):  # the numbers in the chapter
        kinds = nn.BatchNorm2d | BatchNormPositions
        return sum(
            p.numel() for m in network if isinstance(m, kinds) == norms for p in m.parameters()
        )

    assert (count(network, True), count(other, True)) == (160, 53_248)
    weights = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    assert weights == 81_072


@pytest.mark.parametrize("norm", ["none", "before", "after"])
def test_a_run_records_what_it_did(data, norm):
    config = replace(SHORT, norm=norm, batch_norm=norm != "none")
    result = run(config, 3, data)
    assert result.config == asdict(config)
    assert result.curve["epoch"] == [1, 2, 3]
    assert result.provenance["precision"] == "float32"
    shapes = {name for name in result.final if name.startswith(("skewness", "kurtosis"))}
    assert shapes == {
        f"{shape}_{where}_{n}"
        for shape in ("skewness", "kurtosis")
        for where in ("wu", "relu")
        for n in (1, 2, 3, 4)
    }
    assert all(result.final[name] >= 0 for name in shapes)


def test_few_images_are_evaluated_once(data):
    config = replace(SHORT, positions=True, images=80)
    result = run(config, 0, data)
    assert result.curve["epoch"] == [3]
    assert result.final["epochs_done"] == 3
    assert result.final["test_accuracy"] == result.curve["test_accuracy"][-1]
    assert "skewness_wu_1" not in result.final


def test_around_relus():
    network = variant_network(norm="before", generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 32, 32)
    around = around_relus(network, x)
    assert [below.shape[1] for below, _ in around] == [16, 32, 32, 128]
    torch.testing.assert_close(around[0][0], network[0](x))
    assert all((above >= 0).all() for _, above in around)


def test_studies_are_what_the_book_says():
    for arm, config in arms("placement-sweep").items():
        assert arm == f"relu-{config.norm}-lr{config.lr:g}"
        assert config.held_out
    for arm, config in arms("placement-positions").items():
        assert config.positions == arm.startswith("per-position")
        assert arm.endswith(f"lr{config.lr:g}")
    with pytest.raises(ValueError, match="placement-nothing"):
        arms("placement-nothing")
    for study in placement.STUDIES:
        stated = placement.protocol(study)
        assert (stated.settings == "chosen") == study.endswith("-best")


def test_committed_records_are_of_the_studies_configurations(monkeypatch):
    monkeypatch.delenv("BN_RESULTS_DIR")
    for study in placement.STUDIES:
        if (record.ROOT / "results" / f"{study}.json").is_file():
            chosen = arms(study)
            for r in record.load(study, record.ROOT / "results"):
                assert r.config == asdict(chosen[r.arm]), f"{study}: {r.arm}"
