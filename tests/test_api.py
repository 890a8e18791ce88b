"""The public face: what the package gives by itself, in as few words as the YAML."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

import ppcls_compress as pc
from ppcls_compress import api
from ppcls_compress.slim import FPGMFilterPruner

SHAPE = [1, 3, 16, 16]


class Net(paddle.nn.Layer):
    """A user's own network, of no catalogue."""

    def __init__(self):
        super().__init__()
        self.features = paddle.nn.Sequential(
            paddle.nn.Conv2D(3, 8, 3, padding=1),
            paddle.nn.BatchNorm2D(8),
            paddle.nn.ReLU(),
            paddle.nn.Conv2D(8, 8, 3, padding=1),
            paddle.nn.BatchNorm2D(8),
            paddle.nn.ReLU(),
        )
        self.classifier = paddle.nn.Linear(8, 3)

    def forward(self, images):
        return self.classifier(self.features(images).mean(axis=[2, 3]))


def build():
    paddle.seed(0)
    network = Net()
    network.eval()
    return network


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    found = rng.standard_normal((24, *SHAPE[1:])).astype(np.float32)
    found[np.arange(24), np.arange(24) % 3] += 2.0
    return paddle.to_tensor(found)


@pytest.mark.parametrize("name", ["compress", "save", "load", "export", "benchmark", "analyze"])
def test_each_function_has_an_example_that_runs(name, images, tmp_path):
    places = {"net": build(), "images": images, "folder": tmp_path, "build": build}
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(api, name), name, globs=places)
    assert example.examples
    found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert found.failed == 0


def test_the_package_shows_all_of_it_and_loads_no_paddle_for_that():
    assert set(pc.__all__) <= set(dir(pc))
    code = "import sys, ppcls_compress as pc; dir(pc); pc.UserError; pc.__version__; assert 'paddle' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'compres'"):
        pc.compres  # noqa: B018


def test_type_checkers_see_what_there_is():
    tree = ast.parse(Path(pc.__file__).read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in checked.body for alias in node.names}
    assert seen == set(pc.__all__) - {"__version__"} == set(pc._HOMES)
    assert {name for name in pc.__all__ if not hasattr(pc, name)} == set()


def test_a_quantized_network_is_trained_by_paddle_model_saved_loaded_and_exported(images, tmp_path):
    labels = np.arange(24, dtype=np.int64) % 3
    loader = paddle.io.DataLoader(
        paddle.io.TensorDataset([images, paddle.to_tensor(labels)]), batch_size=8, places=paddle.CPUPlace()
    )
    slim = {"prune": {"pruned_ratio": 0.5, "bn_recalibration": 2}, "quant": {"name": "pact"}}
    small, record = pc.compress(build(), slim, example=SHAPE, batches=loader)
    trainer = paddle.Model(small)
    optimizer = paddle.optimizer.Momentum(0.05, parameters=small.parameters())
    trainer.prepare(optimizer, paddle.nn.CrossEntropyLoss())
    trainer.fit(loader, epochs=4, verbose=0)
    small.eval()
    pc.save(trainer, record, tmp_path / "small")
    again, found = pc.load(build(), tmp_path / "small.pdparams")
    assert found == record
    np.testing.assert_array_equal(again(images).numpy(), small(images).numpy())
    with pytest.raises(pc.UserError, match="the network is quantized; give the record"):
        pc.export(again, tmp_path / "inference", check=images)
    results = pc.export(
        again,
        tmp_path / "inference",
        record=record,
        check=(images, labels),
        class_names=["a", "b", "c"],
        agreement={"paddle": 0.8, "onednn": 0.5},
    )
    assert results[0].artifact.description.format == "paddle"
    assert results[0].parity.bound == 0.8
    assert results[0].artifact.description.params == record["steps"][0]["after"]["params"]
    assert results[0].parity.accuracy_model == np.mean(again(images).numpy().argmax(axis=1) == labels)
    assert results[0].artifact.description.class_names == ("a", "b", "c")
    predictor = pc.Predictor(tmp_path / "inference")
    np.testing.assert_allclose(
        predictor.probabilities(images.numpy()), paddle.nn.functional.softmax(again(images)).numpy(), atol=0.05
    )


def test_an_export_replaces_what_is_not_its_own_when_told_so(images, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "inference.pdiparams").write_text("of another program")
    line = f"{tmp_path}: holds inference.pdiparams, of which no export from here tells; name another folder, or say "
    with pytest.raises(pc.UserError, match=f"^{line}overwrite=True$"):
        pc.export(build(), tmp_path, check=images)
    assert (tmp_path / "inference.pdiparams").read_text() == "of another program"
    pc.export(build(), tmp_path, check=images, overwrite=True)
    pc.export(build(), tmp_path, check=images)  # its own, as after each epoch of a training
    assert (tmp_path / "notes.txt").read_text() == "mine"
    description = tmp_path / "inference.yml"
    content = yaml.safe_load(description.read_text())
    content["Artifact"]["source"] = "output/best_model"
    description.write_text(yaml.safe_dump(content))
    with pytest.raises(pc.UserError, match="holds the export of output/best_model; name another folder, or say"):
        pc.export(build(), tmp_path, check=images)


def test_a_record_of_before_is_gone_on_from(images):
    small, first = pc.compress(build(), {"prune": {}}, example=SHAPE)
    slim = {"prune": {}, "quant": {"name": "ptq"}}
    small, record = pc.compress(small, slim, example=SHAPE, batches=iter([images]), record=first)
    assert record["steps"][0] == first["steps"][0]
    assert [step["kind"] for step in record["steps"]] == ["prune", "quant"]


def test_what_a_pruner_of_paddleslims_name_did_is_saved_and_loaded(images, tmp_path):
    network = build()
    pruner = FPGMFilterPruner(network, SHAPE)
    pruner.prune_vars({pruner.collections[0].master_name: 0.5}, axis=0)
    pc.save(network, pruner.record(), tmp_path / "pruned")
    again, _ = pc.load(build(), tmp_path / "pruned")
    np.testing.assert_array_equal(again(images).numpy(), network(images).numpy())


@pytest.mark.parametrize(
    ("slim", "text"),
    [
        ({"prunes": {}}, "Slim: unknown key 'prunes'; did you mean 'prune'?"),
        ({"prune": {"pruned_ratio": 2}}, "Slim: prune: pruned_ratio must be in"),
        ({"auto": {"max_drop": 1, "minimize": "bytes"}}, "Slim: auto: is searched by the command compress"),
        ({"quant": {"name": "pact"}}, "batches"),
        ({"prune": {"name": "taylor"}}, "in Python give gradients=..."),
        (
            {"prune": {"iterative": {"steps": 2}}},
            "needs training between its steps, which of the commands only train has",
        ),
    ],
)
def test_what_is_wrong_or_missing_is_named(slim, text):
    with pytest.raises(pc.UserError) as told:
        pc.compress(build(), slim, example=SHAPE)
    assert text in str(told.value)
    assert "\n" not in str(told.value)


def test_mistakes_of_arguments_are_told(images, tmp_path):
    with pytest.raises(pc.UserError, match="found dict"):
        pc.compress({}, {"prune": {}}, example=SHAPE)
    for nothing in (None, {}, "fpgm", [{"prune": {}}]):
        with pytest.raises(pc.UserError, match=r"Slim: expected steps such as .*, found"):
            pc.compress(build(), nothing, example=SHAPE)
    with pytest.raises(pc.UserError, match="save: give the record"):
        pc.save(build(), None, tmp_path / "small")
    with pytest.raises(pc.UserError, match="Slim: quant: how is a float network"):
        pc.analyze(build(), {"prune": {}}, batches=images)
    for nothing in ({}, [tmp_path]):
        with pytest.raises(pc.UserError, match="benchmark: expected folders by name"):
            pc.benchmark(nothing)
    with pytest.raises(pc.UserError, match="formats: unknown export format 'padle'; did you mean 'paddle'"):
        pc.export(build(), tmp_path, formats="padle", image_shape=SHAPE[1:])
    with pytest.raises(pc.UserError, match=r"expected images \[N, C, H, W\], found \[3, 16, 16\]"):
        pc.export(build(), tmp_path, check=images[0])
    with pytest.raises(pc.UserError, match="3 labels for 24 images"):
        pc.export(build(), tmp_path, check=(images, [0, 1, 2]))


def test_arrays_of_doubles_are_what_numpy_makes_and_are_calibrated_on(images):
    slim = {"quant": {"name": "ptq"}}
    single, double = (
        pc.compress(build(), slim, example=SHAPE, batches=images.numpy().astype(kind))[0] for kind in ("f4", "f8")
    )
    np.testing.assert_array_equal(single(images).numpy(), double(images).numpy())
