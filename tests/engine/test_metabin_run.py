"""Meta-learning from a configuration: trained, pruned and quantized, resumed, and refused."""

import numpy as np
import pytest
from support.cameras import make_camera_project, write_cameras
from support.commands import call, errors

from ppcls_compress import io
from ppcls_compress.config.load import load_config
from ppcls_compress.engine import assemble
from ppcls_compress.engine.loaders import training_epochs
from ppcls_compress.engine.trainer import build_trainer
from ppcls_compress.models import resnet
from ppcls_compress.models.residual import DEPTHS
from ppcls_compress.optim.group import members_of

SLIM = "Slim={prune: {name: fpgm, pruned_ratio: 0.3}, quant: {name: pact}}"


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    """A block for each stage, and few channels behind the stem: a ResNet50 in no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "_WIDTHS", (64, 8, 8, 8))
        patch.setitem(DEPTHS, 50, (1, 1, 1, 1))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = make_camera_project(tmp_path_factory.mktemp("cameras"), features=32)
    assert call("train", config, SLIM) == 0
    return config


def states(folder, *endings):
    return [io.read_state(f"{folder}/RecModel/latest.{ending}") for ending in endings]


def test_a_pruned_and_quantized_run_is_resumed_exactly(run, tmp_path, capsys):
    folder = run.parent / "output"
    capsys.readouterr()
    start = f"Global.checkpoints={folder}/RecModel/epoch_1"
    assert call("train", run, SLIM, start, f"Global.output_dir={tmp_path}") == 0
    assert "Global.checkpoints:" not in capsys.readouterr().err
    whole, again = (states(path, "pdparams", "pdopt") for path in (folder, tmp_path))
    for one, other in zip(whole, again, strict=True):
        flat, same = (dict(_flat(state)) for state in (one, other))
        assert flat.keys() == same.keys()
        assert all(np.array_equal(flat[key], same[key]) for key in flat)


def _flat(node, path=""):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flat(value, f"{path}/{key}")
    else:
        yield path, node


def test_gates_and_weights_learn_and_alphas_with_them(run):
    first, last = (io.read_state(run.parent / f"output/RecModel/epoch_{epoch}.pdparams") for epoch in (1, 2))
    moved = {name for name in first if not np.array_equal(first[name], last[name])}
    gates = {name for name in first if name.endswith(".gate.gate")}
    assert gates & moved
    assert all(0 <= last[name].min() <= last[name].max() <= 1 for name in gates)
    assert {"head.fc.weight", "neck.feat_bn.weight", "backbone.stem.0.conv.weight"} <= moved
    assert any("_fake_quant_input" in name for name in moved)
    assert min(last[name].shape[0] for name in gates) < 8  # pruned like the channels they belong to


def test_each_part_of_a_step_has_its_loss_its_rate_and_its_images(run):
    cycle = "{name: Cyclic, base_learning_rate: 0.1, max_learning_rate: 0.5, step_size_up: 2, last_epoch: 0}"
    config = load_config(run, [f"Optimizer.2.SGD.lr={cycle}"])
    trainer = build_trainer(config, assemble.build_dense(config), training_epochs(config))
    assert [trainer.update.factor(step) for step in range(4)] == pytest.approx([0.3, 0.5, 0.3, 0.1])
    assert [member.get_lr() for member in members_of(trainer.optimizer)] == [0.01, 0.2]
    assert [len(loss.terms) for loss in (trainer.loss, trainer.update.train, trainer.update.test)] == [2, 4, 2]
    assert len(list(trainer.leading)) == 1  # warmup_iter is 2
    images, labels = trainer.update.batches.at(0, 0)
    assert (len(images), sorted(set(labels[:, 1].tolist()))) == (12, [0, 1, 2])


def test_a_dry_run_splits_synthetic_images_by_cameras(run, capsys):
    assert call("train", run, arguments=["--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "MetaTrain.InterDomainShuffleLoss" in told
    assert "dry run passed" in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "Optimizer.1.SGD.scope=neck.*",
            "Optimizer.1.scope: neck.* and .*(conv|batch_norm|instance_norm|feat_bn|fc) both train neck.feat_bn",
        ),
        ("Optimizer.0.Momentum.scope=head", None),
        (
            "Loss.MetaTest=[{CenterLoss: {num_classes: 3, feat_dim: 32}}]",
            "Loss.MetaTest: CenterLoss learns or remembers something of its own, and gates alone learn here",
        ),
    ],
)
def test_who_trains_what_is_checked(run, tmp_path, capsys, override, told):
    overrides = [override, f"Global.output_dir={tmp_path}"]
    if told is None:
        overrides.append("Optimizer.1.SGD.scope=neck.*")
        told = "Optimizer.1.scope: trains neck.feat_bn.weight, which is no gate; with Global.train_mode metabin"
    assert call("train", run, *overrides) == 2
    (line,) = errors(capsys)
    assert told in line


def test_images_of_one_camera_are_refused_before_anything_is_trained(run, tmp_path, capsys):
    write_cameras(tmp_path, cameras=1)
    paths = [
        f"DataLoader.Metalearning.Train.dataset.{key}={tmp_path}/images{end}"
        for key, end in (("image_root", ""), ("cls_label_path", "/list.txt"))
    ]
    assert call("train", run, *paths, f"Global.output_dir={tmp_path}/output") == 2
    (line,) = errors(capsys)
    assert "DataLoader.Metalearning.Train.dataset: all 6 images are of camera 0, and MetaBIN learns from" in line
    assert not (tmp_path / "output/RecModel/latest.pdparams").exists()


def test_missing_images_of_meta_learning_are_named(run, tmp_path, capsys):
    missing = f"DataLoader.Metalearning.Train.dataset.image_root={tmp_path}/none"
    assert call("train", run, missing) == 2
    assert "DataLoader.Metalearning.Train.dataset.image_root: " in errors(capsys)[0]
