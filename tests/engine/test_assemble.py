import copy

import numpy as np
import paddle
import pytest
from support.commands import call, errors
from support.project import config as project
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.config.load import validate
from ppcls_compress.engine import assemble, distributed
from ppcls_compress.engine.context import compression_context
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import recipe


def configured(tmp_path, **arch):
    data = copy.deepcopy(project(tmp_path))
    data["Arch"] |= arch
    return validate(data, source="test")


def test_batch_norms_of_one_process_need_no_synchronisation(tmp_path, monkeypatch):
    model = assemble.build_dense(configured(tmp_path, use_sync_bn=True))
    assert not any(isinstance(layer, paddle.nn.SyncBatchNorm) for layer in model.sublayers())
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    shared = assemble.build_dense(configured(tmp_path, use_sync_bn=True))
    assert any(isinstance(layer, paddle.nn.SyncBatchNorm) for layer in shared.sublayers())
    assert shared.state_dict().keys() == model.state_dict().keys()


def test_a_run_with_sync_bn_on_a_cpu_is_the_run_without(tmp_path):
    config = make_project(tmp_path)
    for value in ("True", "False"):
        assert call("train", config, f"Arch.use_sync_bn={value}", f"Global.output_dir={tmp_path}/{value}") == 0
    first, second = (io.read_state(tmp_path / f"{value}/CIFARResNet8/latest.pdparams") for value in ("True", "False"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value):
    config = configured(tmp_path)
    state = {name: tensor.numpy().copy() for name, tensor in assemble.build_dense(config).state_dict().items()}
    broken = [name for name in state if name.endswith("conv.weight")]
    for name in broken:
        state[name].flat[3] = value
    io.write_state(tmp_path / "w.pdparams", state)
    config = config.model_copy(
        update={"Global": config.Global.model_copy(update={"pretrained_model": f"{tmp_path}/w"})}
    )
    with pytest.raises(UserError) as error:
        assemble.build_model(config)
    assert str(error.value) == (
        f"{tmp_path}/w.pdparams: not all of these weights are finite numbers: {', '.join(broken[:3])} and "
        f"{len(broken) - 3} more"
    )


@pytest.mark.parametrize("command", ["eval", "infer", "export_model", "train", "sensitivity"])
def test_no_command_takes_weights_that_are_no_numbers(tmp_path, capsys, command):
    config = make_project(tmp_path)
    model = assemble.build_dense(configured(tmp_path))
    state = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    state["blocks.1.conv0.bn._mean"][0] = np.nan
    io.write_state(tmp_path / "w.pdparams", state)
    assert call(command, config, f"Global.pretrained_model={tmp_path}/w") == 2
    assert errors(capsys) == [
        f"error: {tmp_path}/w.pdparams: not all of these weights are finite numbers: blocks.1.conv0.bn._mean"
    ]
    assert not (tmp_path / "inference").exists()


@pytest.mark.parametrize("command", ["train", "eval", "infer", "export_model", "sensitivity", "quantize"])
def test_a_network_that_does_not_take_the_images_is_the_first_thing_told(tmp_path, capsys, command):
    config = make_project(tmp_path)
    io.write_state(tmp_path / "w.pdparams", {})
    (tmp_path / "images" / "train_list.txt").write_text("lost.png 0\n")  # which nobody comes to see
    overrides = ["Arch={name: LeNet, class_num: 3}", f"Global.pretrained_model={tmp_path}/w", "Slim.quant={name: ptq}"]
    overrides = overrides[: 3 if command == "quantize" else 2]
    assert call(command, config, *overrides) == 2
    assert errors(capsys) == [
        "error: Global.image_shape: Arch.name LeNet does not take images of [3, 8, 8]: layer features.0 (Conv2D) was "
        "given [1, 3, 8, 8] and takes 1 channels"
    ]


def test_a_dry_run_and_a_teacher_are_tried_alike(tmp_path, capsys):
    config = make_project(tmp_path)
    arch = "Arch={name: CIFARResNet8, class_num: 3, input_image_channel: 1}"
    assert call("train", config, arch, arguments=["--dry-run"]) == 2
    (line,) = errors(capsys)
    assert "does not take images of [3, 8, 8]: layer stem.conv (Conv2D)" in line
    assert line.endswith("takes 1 channels; Arch.input_image_channel: 3 makes one that takes them")
    io.write_state(tmp_path / "w.pdparams", {})
    assert call("train", config, f"Slim.distill={{teacher: {tmp_path}/w, arch: LeNet}}") == 2
    (line,) = errors(capsys)
    assert "Global.image_shape: Slim.distill.arch LeNet does not take images of [3, 8, 8]" in line


def test_the_name_of_a_list_that_comes_along_may_be_misspelt(tmp_path):
    data = copy.deepcopy(project(tmp_path))
    data["Infer"]["PostProcess"]["class_id_map_file"] = "ppcls/utils/imagenet_label_list.txt"
    with pytest.raises(ConfigError, match="did you mean ppcls/utils/imagenet1k_label_list.txt, which comes with"):
        assemble.class_names(validate(data, source="config.yaml"))
    data["Infer"]["PostProcess"]["class_id_map_file"] = "ppcls/utils/imagenet1k_label_list.txt"
    with pytest.raises(UserError, match=r"imagenet1k_label_list\.txt:4: class index 3 is outside 0 \.\. 2"):
        assemble.class_names(validate(data, source="config.yaml"))
    data["Arch"]["class_num"] = 1000
    assert assemble.class_names(validate(data, source="config.yaml"))[1] == "goldfish, Carassius auratus"


def test_a_teacher_of_the_same_network_has_its_decoder_too(tmp_path):
    settings = {"Arch": {"name": "PPLCNet_x0_25", "class_num": 4, "use_ml_decoder": True}}
    settings |= {
        "MLDecoder": {
            "query_num": 4,
            "in_channels": 1280,
            "class_num": 4,
            "embed_dim": 32,
            "mlp_hidden_dim": 32,
            "num_heads": 4,
        }
    }
    settings |= {"Global": {"image_shape": [3, 64, 64], "use_multilabel": True}}
    settings |= {"Slim": {"distill": {"teacher": str(tmp_path / "teacher")}}}
    settings |= {"Metric": {"Eval": [{"HammingDistance": None}]}, "Loss": {"Train": [{"MultiLabelLoss": None}]}}
    config = validate(settings, source="test")
    network = assemble.build_dense(config)
    io.write_state(tmp_path / "teacher.pdparams", {key: value.numpy() for key, value in network.state_dict().items()})
    teacher = assemble.build_teacher(config, config.Slim.distill)
    assert teacher.state_dict().keys() == network.state_dict().keys()
    assert all(parameter.stop_gradient for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("name", "slim"),
    [
        ("CIFARResNet8", {}),
        ("CIFARResNet8", {"prune": {"name": "fpgm", "pruned_ratio": 0.3}}),
        ("CIFARResNet8", {"quant": {"name": "pact"}}),
        ("PPLCNetV2_base", {}),  # branches, which are merged when it is deployed
    ],
)
def test_a_network_costs_what_it_costs_when_it_is_built_anew(tmp_path, name, slim):
    data = copy.deepcopy(project(tmp_path))
    data["Arch"]["name"] = name
    config = validate(data | {"Slim": slim}, source="test")
    context = compression_context(config, lambda: [(paddle.randn([2, *config.Global.image_shape]), None)])
    model, record = assemble.build_model(config, context=context)
    assert assemble.cost_of(config, record, model) == assemble.cost_of(config, record)


@pytest.mark.parametrize(
    ("skip", "told"), [(["stm"], "Slim.quant.skip: unknown layer 'stm'"), ([], "the disk is gone")]
)
def test_what_quantization_would_refuse_is_known_before_hours_of_iterative_pruning(tmp_path, skip, told):
    data, trained = copy.deepcopy(project(tmp_path)), []
    data["Slim"] = {
        "prune": {"name": "fpgm", "pruned_ratio": 0.3, "iterative": {"steps": 2, "epochs_per_step": 1}},
        "quant": {"name": "pact", "skip": skip},
    }

    def unreadable():
        raise UserError("the disk is gone")
        yield

    context = recipe.Context(unreadable, train=lambda model, record: trained.append(record))
    with pytest.raises(UserError, match=told):
        assemble.build_model(validate(data, source="test"), context=context)
    assert trained == []
