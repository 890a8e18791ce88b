"""Values that are not of the kind that a key takes: what is told, and what is not taken for something else."""

import pytest
import yaml
from support.project import config as project

from ppcls_compress.config.load import load_config, validate
from ppcls_compress.config.overrides import apply_override
from ppcls_compress.config.yaml_text import parse_yaml
from ppcls_compress.errors import ConfigError
from ppcls_compress.models import catalog


def refused(tmp_path, override):
    data = parse_yaml(yaml.safe_dump(project(tmp_path))) | {
        "Slim": {"prune": {"name": "fpgm"}, "quant": {"name": "pact"}}
    }
    apply_override(data, override)
    with pytest.raises(ConfigError) as error:
        validate(data, source="test")
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix("test: ")


@pytest.mark.parametrize(
    "key",
    [
        "Optimizer.lr.learning_rate",
        "Optimizer.momentum",
        "Optimizer.regularizer.coeff",
        "Global.epochs",
        "Global.image_shape.1",
        "Global.seed",
        "Global.export_agreement",
        "Arch.class_num",
        "Loss.Train.0.CELoss.epsilon",
        "Metric.Eval.0.TopkAcc.topk",
        "DataLoader.Train.sampler.batch_size",
        "DataLoader.Train.loader.num_workers",
        "DataLoader.Train.dataset.transform_ops.1.NormalizeImage.scale",
        "DataLoader.Train.dataset.transform_ops.1.NormalizeImage.mean.2",
        "AMP.scale_loss",
        "Infer.PostProcess.topk",
        "Slim.prune.pruned_ratio",
        "Slim.prune.target_flops",
        "Slim.quant.weight_bits",
        "Slim.quant.moving_rate",
        "Slim.distill.weight",
    ],
)
def test_a_boolean_is_no_number(tmp_path, key):
    if key.startswith("AMP"):
        text = refused(tmp_path, "AMP={scale_loss: True}")
    elif key.startswith("Slim.distill"):
        text = refused(tmp_path, "Slim.distill={teacher: a, weight: True}")
    elif key.startswith("Optimizer.regularizer"):
        text = refused(tmp_path, "Optimizer.regularizer={name: L2, coeff: True}")
    else:
        text = refused(tmp_path, f"{key}=True")
    assert "expected a number, found " in text
    assert text.startswith(key.rstrip(".012") if key[-1].isdigit() else key)


def test_a_boolean_is_no_option_of_a_network_either():
    for key, value in (("class_num", True), ("class_expand", False), ("lr_mult_list", [1, 1, True, 1, 1, 1])):
        with pytest.raises(ConfigError, match=f"Arch.{key}: .*expected a number"):
            catalog.check("PPLCNet_x0_25", {key: value})
    catalog.check("PPLCNet_x0_25", {"use_last_conv": False})


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "Optimizer.lr=0.01",
            "Optimizer.lr: expected a section, a dictionary such as {name: Cosine, learning_rate: 0.01}, found 0.01",
        ),
        (
            "Optimizer=Momentum",
            "Optimizer: expected a section, a dictionary such as {name: Momentum, lr: {name: Cosine, learning_rate",
        ),
        (
            "Optimizer.regularizer=0.1",
            "Optimizer.regularizer: expected a section, a dictionary such as {name: L2, coeff: 0.0001}",
        ),
        (
            "Arch=ResNet50",
            "Arch: expected a section, a dictionary such as {name: ResNet50, class_num: 1000}, found 'ResNet50'",
        ),
        ("Global=gpu", "Global: expected a section, a dictionary with keys checkpoints, pretrained_model,"),
        (
            "Loss=CELoss",
            "Loss: expected a section, a dictionary such as {Train: [{CELoss: {weight: 1.0}}]}, found 'CELoss'",
        ),
        ("Loss.Train=CELoss", "Loss.Train: expected a list, found 'CELoss'"),
        (
            "Metric=TopkAcc",
            "Metric: expected a section, a dictionary such as {Eval: [{TopkAcc: {topk: [1, 5]}}]}, found 'TopkAcc'",
        ),
        ("DataLoader=images", "DataLoader: expected a section, a dictionary such as {Train: {dataset: {...}, sampler:"),
        (
            "DataLoader.Train=images",
            "DataLoader.Train: expected a section, a dictionary with keys dataset, sampler, loader, found",
        ),
        (
            "DataLoader.Train.sampler=8",
            "DataLoader.Train.sampler: expected a section, a dictionary such as {name: sampler, option",
        ),
        (
            "DataLoader.Train.loader=4",
            "DataLoader.Train.loader: expected a section, a dictionary with keys num_workers, use_shared",
        ),
        ("Slim=fpgm", "Slim: expected a section, a dictionary with keys prune, quant, distill, auto, found 'fpgm'"),
        (
            "Slim.prune=fpgm",
            "Slim.prune: expected a section, a dictionary such as {name: fpgm, pruned_ratio: 0.3}, found 'fpgm'",
        ),
        (
            "Slim.prune=0.3",
            "Slim.prune: expected a section, a dictionary such as {name: fpgm, pruned_ratio: 0.3}, found 0.3",
        ),
        ("Slim.quant=pact", "Slim.quant: expected a section, a dictionary such as {name: pact}, found 'pact'"),
        (
            "Slim.distill=best",
            "Slim.distill: expected a section, a dictionary such as {teacher: output/ResNet50/best_model}",
        ),
        ("Infer=photos", "Infer: expected a section, a dictionary with keys infer_imgs, batch_size,"),
        (
            "Infer.PostProcess=Topk",
            "Infer.PostProcess: expected a section, a dictionary such as {name: Topk, topk: 5}",
        ),
        ("AMP=O1", "AMP: expected a section, a dictionary with keys use_amp,"),
    ],
)
def test_a_plain_value_where_a_section_is_due_says_what_the_section_looks_like(tmp_path, override, text):
    assert refused(tmp_path, override).startswith(text)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (f"Global.epochs={2**62}", "Global.epochs: expected less than or equal to 2147483647"),
        (f"Arch.class_num={10**8}", "Arch.class_num: expected less than or equal to 10000000"),
        ("Global.image_shape=[8, 8]", "Global.image_shape: expected [channels, height, width], found [8, 8]"),
        ("Global.image_shape=224", "Global.image_shape: expected [channels, height, width], found 224"),
        ("Global.image_shape=[224, 224, 3]", "Global.image_shape: channels come first: [224, 224, 3] is [3, 224, 224]"),
        ("Global.image_shape=[3, 100000, 100000]", "Global.image_shape: 100000 x 100000 pixels are more than"),
        (f"DataLoader.Train.sampler.batch_size={2**40}", "DataLoader.Train.sampler.batch_size: expected less than"),
        (f"DataLoader.Train.loader.num_workers={2**20}", "DataLoader.Train.loader.num_workers: expected less than"),
        ("DataLoader.Train.dataset.transform_ops.1={Pad: {padding: 3000000000}}", "Pad.padding: expected less than"),
        ("Optimizer.clip_norm=1.0e+400", "Optimizer.clip_norm: expected a finite number"),
    ],
)
def test_shapes_and_sizes_that_cannot_be_meant_are_refused(tmp_path, override, text):
    assert text in refused(tmp_path, override)


@pytest.mark.parametrize(
    "override",
    [
        "Arch.name=" + "x" * 100_000,
        "Global.device=" + "x" * 100_000,
        "Global." + "x" * 100_000 + "=1",
        "Optimizer.name=" + "x" * 100_000,
        "Optimizer.lr.learning_rate=" + "1+" * 50_000 + "1",
        "Global.image_shape=[" + "1," * 50_000 + "1]",
        "Loss.Train=[{" + "x" * 100_000 + ": null}]",
        "Slim.prune.name=" + "x" * 100_000,
        "Slim.quant.skip=" + "x" * 100_000,
        "DataLoader.Train.dataset.transform_ops.1={ResizeImage: {size: 3, interpolation: " + "x" * 100_000 + "}}",
    ],
)
def test_a_value_of_a_hundred_thousand_characters_is_not_repeated(tmp_path, override):
    if override.startswith("Arch"):
        with pytest.raises(ConfigError) as error:
            catalog.check(override.partition("=")[2], {})
        assert len(str(error.value)) < 1500
        return
    assert len(refused(tmp_path, override)) < 1500


def test_a_file_of_the_oldest_form_says_which_sections_there_are_now(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("mode: train\nARCHITECTURE: {name: ResNet50_vd}\nclasses_num: 102\nTRAIN: {batch_size: 20}\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value) == (
        f"{path}: ARCHITECTURE, TRAIN: sections of PaddleClas' files before 2021; they are Arch, Optimizer, "
        "DataLoader.Train, DataLoader.Eval and Global now: start from the file of the same network in today's "
        "ppcls/configs"
    )


@pytest.mark.parametrize(("encoding", "found"), [("gb18030", "GBK"), ("utf-16", "UTF-16")])
def test_a_file_in_another_encoding_is_told_by_name_and_a_byte_order_mark_is_none_of_it(tmp_path, encoding, found):
    text = "# 学习率\nGlobal: {epochs: 1}\nArch: {name: LeNet}\n"
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode("utf-8-sig"))
    assert load_config(path).Arch.name == "LeNet"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ConfigError, match=f"it looks like {found}: iconv -f {found} -t UTF-8 {path}"):
        load_config(path)


@pytest.mark.parametrize("key", ["Optimizer.lr.name", "DataLoader.Train.sampler.name", "DataLoader.Eval.dataset.name"])
@pytest.mark.parametrize("value", ["[1, 8]", "{name: fpgm}", "[{}]"])
def test_a_name_that_is_a_list_or_a_section_is_unknown(tmp_path, key, value):
    text = refused(tmp_path, f"{key}={value}")
    assert text.startswith(f"{key}: unknown ")
