import numpy as np
import pytest
from support.commands import call
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.config.load import load_config
from ppcls_compress.data.continued import ContinuedLoader
from ppcls_compress.engine.loaders import training_loader


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("continued"))


def first_pixels(loader):
    return [float(images[0, 0, 0, 0]) for images, _ in loader]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("batches", [2, 5])
def test_an_epoch_goes_on_where_the_one_before_it_stopped(project, workers, batches):
    loader = training_loader(load_config(project, [f"DataLoader.Train.loader.num_workers={workers}"]))
    assert len(loader) == 3
    expected = []
    for number in range(5):
        loader.set_epoch(number)
        expected += first_pixels(loader)
    continued = ContinuedLoader(loader, batches, epochs=3)
    assert len(continued) == batches
    found = []
    for epoch in range(3):
        continued.set_epoch(epoch)
        found += first_pixels(continued)
    assert found == expected[: 3 * batches]
    continued.set_epoch(1, 1)
    assert first_pixels(continued) == expected[batches + 1 : 2 * batches]


def test_what_progresses_with_the_run_comes_to_its_end(project):
    """Ten epochs of one batch are four passes over three: each of four sizes has one of them."""
    ops = (
        "DataLoader.Train.dataset.transform_ops.0={DecodeImage: {}}",
        ("DataLoader.Train.dataset.transform_ops.1={RandCropImage: {size: 8, progress_size: [4, 5, 6, 7]}}"),
    )
    loader = ContinuedLoader(training_loader(load_config(project, [*ops, "Global.epochs=10"])), 1, epochs=10)
    sizes = []
    for epoch in range(10):
        loader.set_epoch(epoch)
        sizes += [images.shape[-1] for images, _ in loader]
    assert sizes == [4] * 3 + [5] * 3 + [6] * 3 + [7]


def test_a_run_of_such_epochs_resumes_exactly(project, tmp_path):
    overrides = ["Global.epochs=3", "Global.iter_per_epoch=5"]
    assert call("train", project, *overrides) == 0
    folder = project.parent / "output/CIFARResNet8"
    start = f"Global.checkpoints={folder}/epoch_2"
    assert call("train", project, *overrides, start, f"Global.output_dir={tmp_path}") == 0
    whole, again = (io.read_state(f"{path}/latest.pdparams") for path in (folder, tmp_path / "CIFARResNet8"))
    assert all(np.array_equal(whole[name], again[name]) for name in whole)
    assert io.read_state(folder / "latest.pdstates")["progress"]["step"] == 15
