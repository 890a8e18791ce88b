import os
import tempfile
from dataclasses import replace

import pytest
import yaml

from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.decoding import DecodeImage
from ppcls_compress.deploy import artifact
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess import Topk
from ppcls_compress.postprocess.attributes import VehicleAttribute
from ppcls_compress.postprocess.classes import ThreshOutput

OPS = parse_transforms(
    [
        {"DecodeImage": {"to_rgb": True, "channel_first": False}},
        {"ResizeImage": {"resize_short": 36}},
        {"CropImage": {"size": [30, 32]}},
        {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "order": ""}},
        {"ToCHWImage": None},
    ]
)
DESCRIPTION = artifact.Description(
    (3, 32, 30),
    "logits",
    OPS,
    ("0", "zwölf"),
    post_process=Topk(topk=2),
    model_name="ResNet18",
    format="onnx-ort",
    parity={"bound": 0.9, "integer_kernels": {"Convolution": [1, 2]}},
    notes=("für Tempo", "fc: stays float"),
    speed_only=True,
    integer_layers=2,
)
NETWORK, PARAMETERS = NAMES = ("inference.json", "inference.pdiparams")


def put(folder, text="network", description=DESCRIPTION):
    (folder / NETWORK).write_text(text)
    (folder / PARAMETERS).write_text(f"parameters of {text}")
    artifact.write_description(folder, description)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def saved(tmp_path):
    with artifact.staged(tmp_path / "out", NAMES) as folder:
        put(folder)
    return tmp_path / "out"


def test_round_trip(saved):
    loaded = artifact.load(saved)
    assert loaded.description == DESCRIPTION
    assert not loaded.quantized
    assert loaded.files == {path.name: path.stat().st_size for path in saved.iterdir()}
    assert loaded.bytes == sum(loaded.files.values())


def test_layout_is_what_paddleclas_writes(saved):
    content = yaml.safe_load((saved / "inference.yml").read_text(encoding="utf-8"))
    assert content["Global"] == {"model_name": "ResNet18"}
    assert content["PostProcess"] == {"Topk": {"topk": 2, "label_list": ["0", "zwölf"]}}
    ops = content["PreProcess"]["transform_ops"]
    assert [next(iter(op)) for op in ops] == ["ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage"]
    assert ops[0] == {"ResizeImage": {"resize_short": 36}}


@pytest.mark.parametrize(
    "post_process",
    [ThreshOutput(threshold=0.3, label_0="none", label_1="some"), VehicleAttribute(color_threshold=0.25)],
)
def test_other_answers_than_the_best_classes_are_kept(tmp_path, post_process):
    description = artifact.Description((3, 32, 30), "label_probabilities", post_process=post_process)
    put(tmp_path, description=description)
    assert artifact.load(tmp_path).description == description


@pytest.mark.parametrize("decoding", [DecodeImage(to_rgb=False), DecodeImage(backend="pil")])
def test_unusual_decoding_is_written(tmp_path, decoding):
    description = artifact.Description((3, 32, 30), preprocess=(decoding, *OPS[1:]))
    put(tmp_path, description=description)
    assert artifact.load(tmp_path).description == description


def test_failure_keeps_the_earlier_artifact(saved):
    before = contents(saved)

    def broken_export():
        with artifact.staged(saved, NAMES) as folder:
            put(folder, "half a new one")
            raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        broken_export()
    assert contents(saved) == before


def test_failed_replacement_is_undone(saved, monkeypatch):
    before = contents(saved)
    replace, target = os.replace, saved / PARAMETERS

    def fail(source, destination):
        if destination == target and "earlier" not in str(source):
            raise OSError(28, "No space left on device")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", fail)
    no_space = pytest.raises(UserError, match=r"out: cannot be written: No space left")
    with no_space, artifact.staged(saved, NAMES) as folder:
        put(folder, "new")
    assert contents(saved) == before


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(28, "No space left on device", "/elsewhere/images.npy"),
            "/elsewhere/images.npy: cannot be written: No",
        ),
        (OSError("disk gone"), "{saved}: cannot be written: disk gone"),
    ],
)
def test_what_cannot_be_written_is_named(saved, error, message):
    with pytest.raises(UserError) as told, artifact.staged(saved, NAMES):
        raise error
    assert str(told.value).startswith(message.format(saved=saved))


def test_replacement_leaves_other_files_and_drops_the_old_record(saved):
    (saved / artifact.RECORD).write_text('{"version": 1, "steps": []}')
    (saved / "notes.txt").write_text("mine")
    with artifact.staged(saved, NAMES) as folder:
        put(folder, "new")
    assert set(contents(saved)) == {NETWORK, PARAMETERS, artifact.DESCRIPTION, "notes.txt"}
    assert (saved / NETWORK).read_text() == "new"


def test_first_failure_leaves_no_folder(tmp_path):
    with pytest.raises(KeyError), artifact.staged(tmp_path / "a" / "b", NAMES):
        raise KeyError
    assert not (tmp_path / "a").exists()


def test_killed_export_leaves_nothing_that_loads(saved):
    (saved / ".partial-killed").mkdir()
    (saved / artifact.DESCRIPTION).rename(saved / ".partial-killed" / artifact.DESCRIPTION)
    with pytest.raises(UserError, match=r"inference\.yml missing; export it again"):
        artifact.load(saved)
    with artifact.staged(saved, NAMES) as folder:
        put(folder)
    assert not list(saved.glob(".*"))


def test_an_export_at_the_same_time_keeps_its_files(saved):
    (saved / ".partial-99999999-dead").mkdir()
    with artifact.staged(saved, NAMES) as first:
        put(first, "first")
        with artifact.staged(saved, NAMES) as second:
            put(second, "second")
        assert sorted(saved.glob(".*")) == [first]
    assert (saved / NETWORK).read_text() == "first"


def test_whether_a_folder_can_be_written_leaves_nothing(tmp_path, monkeypatch):
    artifact.check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match="b: cannot be written: Permission denied"):
        artifact.check_writable(tmp_path / "a" / "b")


def test_withdrawn(saved):
    (saved / "notes.txt").write_text("mine")
    assert artifact.withdraw(saved, NAMES)
    assert list(contents(saved)) == ["notes.txt"]
    assert not artifact.withdraw(saved, NAMES)


def test_exports_of_different_networks_are_told(tmp_path):
    places = {name: tmp_path / name for name in ("a", "b", "c", "d")}
    for name, network in (("a", "1"), ("b", "1"), ("c", "")):
        places[name].mkdir()
        put(places[name], description=replace(DESCRIPTION, network=network))
    assert artifact.strangers(tmp_path, places) == []
    put(places["b"], description=replace(DESCRIPTION, network="2"))
    (places["c"] / artifact.DESCRIPTION).write_text("[]")
    broken, line = artifact.strangers(tmp_path, places)
    assert str(places["c"]) in broken
    assert line == f"{tmp_path}: a and b are of different networks; --format all exports all formats of one"


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="out: cannot be written: Not a directory"):
        artifact.staged(tmp_path / "file" / "out", NAMES).__enter__()


def _edit(path, change):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("Artifact"), "no key 'Artifact'"),
        (lambda content: content["Artifact"].update(version=9), "version 9 found, 2 is known"),
        (lambda content: content["Artifact"].update(output="boxes"), "output 'boxes' found, allowed: probabilities"),
        (lambda content: content["PreProcess"]["transform_ops"].append({"Rotate": {}}), "transform_ops.*'Rotate'"),
        (lambda content: content["Artifact"]["files"].update({"../x": {"bytes": 1, "sha256": ""}}), "'../x' is not a"),
        (lambda content: content["Artifact"]["files"].update({"x": 1}), "not the description of an exported model"),
        (lambda content: content["PostProcess"].update(Topk=[1]), "not the description of an exported model"),
        (lambda content: content.update(PostProcess=None), "not the description of an exported model"),
    ],
)
def test_bad_description(saved, change, message):
    _edit(saved / artifact.DESCRIPTION, change)
    with pytest.raises(UserError, match=rf"inference\.yml: .*{message}"):
        artifact.load(saved)


@pytest.mark.parametrize("name", [NETWORK, PARAMETERS, artifact.DESCRIPTION])
def test_missing_file(saved, name):
    (saved / name).unlink()
    with pytest.raises(UserError, match=rf"out: not a complete exported model, {name} missing"):
        artifact.load(saved)


def test_truncated_file(saved):
    (saved / PARAMETERS).write_text("par")
    with pytest.raises(UserError, match=r"inference\.pdiparams: 3 bytes, 21 expected"):
        artifact.load(saved)


def test_changed_file(saved):
    path = saved / PARAMETERS
    path.write_text(path.read_text().swapcase())
    with pytest.raises(UserError, match=r"inference\.pdiparams: not the file that was exported"):
        artifact.load(saved)


def test_formats_leave_each_other_alone(saved):
    with artifact.staged(saved / "onnx-ort", ["model.onnx"]) as folder:
        (folder / "model.onnx").write_text("graph")
        artifact.write_description(folder, DESCRIPTION)
    with artifact.staged(saved, NAMES) as folder:
        put(folder, "new")
    assert set(artifact.load(saved / "onnx-ort").files) == {"model.onnx", artifact.DESCRIPTION}
    assert (saved / NETWORK).read_text() == "new"


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        artifact.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text", ["[1, 2]", '{"version": 9, "steps": []}', '{"version": 1, "steps": [{"kind": "foo"}]}']
)
def test_damaged_record(saved, text):
    (saved / artifact.RECORD).write_text(text)
    artifact.write_description(saved, DESCRIPTION)
    with pytest.raises(UserError, match=r"out/slim\.json: not a compression record: "):
        artifact.load(saved)
