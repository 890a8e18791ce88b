import pytest
import yaml
from support.onnx_extras import needs_onnx

pytestmark = needs_onnx
pytest.importorskip("onnx")

from support import foreign  # noqa: E402

from ppcls_compress.deploy.imported import jobs  # noqa: E402
from ppcls_compress.errors import UserError  # noqa: E402

QUANT = {
    "use_pact": True,
    "activation_bits": 7,
    "is_full_quantize": False,
    "weight_quantize_type": "abs_max",
    "quantize_op_types": ["conv2d", "depthwise_conv2d"],
    "weight_bits": 6,
}
OPS = yaml.safe_load(foreign.PREPROCESS)["PreProcess"]["transform_ops"]
DATASET = {
    "name": "ImageNetDataset",
    "image_root": "photos",
    "cls_label_path": "photos.txt",
    "transform_ops": OPS[:-1],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The layout of PaddleSlim's example: a model's folder, and images with their lists."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "infer").mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams"):
        (tmp_path / "infer" / name).write_text("x")
    foreign.photos(tmp_path / "photos", 3)
    return tmp_path


def act(**changed):
    common = {"model_dir": "infer", "model_filename": "inference.pdmodel", "params_filename": "inference.pdiparams"}
    content = {"Global": common, "Distillation": {"alpha": 1.0}, "QuantAware": QUANT, "TrainConfig": {"epochs": 1}}
    content["Global"] |= changed.pop("Global", {})
    with open("act.yaml", "w") as file:
        yaml.safe_dump({key: value for key, value in {**content, **changed}.items() if value is not None}, file)
    return "act.yaml"


def reader(**changed):
    with open("reader.yaml", "w") as file:
        loaders = {mode: {"dataset": {**DATASET, **changed}} for mode in ("Train", "Eval")}
        loaders["Train"]["dataset"].pop("transform_ops")
        yaml.safe_dump({"DataLoader": loaders}, file)
    return "reader.yaml"


def test_what_a_calibration_can_take_is_taken_and_the_rest_is_told():
    job = jobs.read(act(), reader())
    assert (str(job.source.path), str(job.source.parameters)) == (
        "infer/inference.pdmodel",
        "infer/inference.pdiparams",
    )
    options = job.options
    assert (options.name, options.weight_bits, options.activation_bits) == ("ptq", 6, 7)
    assert (options.quantizable_layer_type, options.weight_quantizer) == (("Conv2D",), "AbsmaxQuantizer")
    assert set(job.unused) == {"QuantAware.use_pact", "QuantAware.is_full_quantize", "Distillation", "TrainConfig"}
    assert (str(job.train.root), str(job.val.file)) == ("photos", "photos.txt")
    assert [type(op).__name__ for op in job.preparation.ops] == [
        "DecodeImage",
        "ResizeImage",
        "NormalizeImage",
        "ToCHWImage",
    ]


def test_a_folder_with_lists_is_prepared_as_the_example_does(folder):
    (folder / "photos" / "train_list.txt").write_text("00.png 0\n")
    job = jobs.read(act(Global={"data_dir": "photos", "img_size": 192}))
    assert job.preparation.ops[2].size == (192, 192)
    assert (job.train.file.name, job.val) == ("train_list.txt", None)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"Global": {"model_dir": "none"}}, "Global.model_dir: none does not exist"),
        ({"Global": {"model_filename": "../inference.pdmodel"}}, "the name of a file in model_dir is needed"),
        ({"Global": {"model_dir": 3}}, "Global.model_dir: the folder of the exported model is needed"),
        ({"QuantAware": None}, "QuantAware or QuantPost: needed"),
        ({"QuantAware": {"weight_bits": 1}}, "QuantAware.weight_bits"),
        ({"QuantAware": {"quantize_op_types": ["softmax"]}}, "QuantAware.quantize_op_types: some of conv2d"),
        ({"QuantPost": {"algo": "guess"}, "QuantAware": None}, "QuantPost.algo: 'guess' is not known here"),
        ({"Global": {"data_dir": "none"}}, "Global.data_dir: none does not exist"),
    ],
)
def test_a_file_that_cannot_be_carried_out_is_refused(changed, expected):
    with pytest.raises(UserError, match=expected):
        jobs.read(act(**changed))


def test_a_reader_must_name_images():
    with pytest.raises(UserError, match=r"reader.yaml: DataLoader.Train.dataset: none does not exist"):
        jobs.read(act(), reader(image_root="none"))


@pytest.mark.parametrize(
    ("operators", "told"),
    [
        (["conv2d"], "quantize_op_types without depthwise_conv2d"),
        (["depthwise_conv2d", "mul"], "quantize_op_types without conv2d"),
        (["conv2d", "depthwise_conv2d", "elementwise_add"], "quantize_op_types: elementwise_add"),
        (["matmul_v2"], None),
    ],
)
def test_operators_that_are_quantized_otherwise_than_asked_for_are_told(operators, told):
    job = jobs.read(act(QuantAware={"quantize_op_types": operators}))
    assert job.unused == (*([f"QuantAware.{told}"] if told else []), "Distillation", "TrainConfig")
