import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from ppcls_compress.data import build_loader
from ppcls_compress.data.datasets import DATASETS
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.declare import named
from ppcls_compress.errors import ConfigError, UserError

WHERE = "DataLoader.Train.dataset"


def dataset(name, **options):
    return TypeAdapter(named(DATASETS)).validate_python({"name": name, "transform_ops": ["DecodeImage"], **options})


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b c.jpg", "d.e.jpg"):
        (tmp_path / "images" / "x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / "x" / name).write_bytes(b"x")
    return tmp_path


def listed(folder, name, text, *, class_num=10, **options):
    (folder / "list.txt").write_text(text)
    paths = {"image_root": str(folder / "images"), "cls_label_path": str(folder / "list.txt")}
    return dataset(name, **paths, **options).read(class_num=class_num, where=WHERE)


def test_vehicles_have_an_identity_and_a_camera(folder):
    found = listed(folder, "VeriWild", "x/a.jpg 3 7\nx/b c.jpg 9 0\n")
    assert found.paths == [str(folder / "images" / "x" / name) for name in ("a.jpg", "b c.jpg")]
    assert found.labels.tolist() == [[3, 7], [9, 0]]
    assert found.targets([1]).tolist() == [[9, 0]]


def test_cartoons_have_a_tab_before_the_identity(folder):
    assert listed(folder, "ICartoonDataset", "x/b c.jpg\t4\n").labels.tolist() == [4]


def test_logos_are_counted_from_one_and_have_a_title(folder):
    text = "image_id\tclass\tbox\tpath\n17\t4\t0 0 1 1\tx/b c.jpg\n"
    found = listed(folder, "LogoDataset", text)
    assert (found.labels.tolist(), found.paths) == ([3], [str(folder / "images" / "x" / "b c.jpg")])


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("VeriWild", "x/a.jpg 3", "expected a path, an identity and a camera.*is for name: ImageNetDataset"),
        ("VeriWild", "x/a.jpg three 4", "expected a path, an identity and a camera"),
        ("ICartoonDataset", "x/a.jpg 3", "expected a path, a tab and an identity.*is for name: ImageNetDataset"),
        ("LogoDataset", "x/a.jpg\t3", "expected at least four columns"),
        ("CompCars", "x/a.jpg", "expected a path and a label"),
    ],
)
def test_a_list_of_another_kind_is_told_with_file_and_line(folder, name, line, told):
    good = {"VeriWild": "x/a.jpg 1 2", "ICartoonDataset": "x/a.jpg\t1", "LogoDataset": "1\t1\t1\tx/a.jpg"}
    with pytest.raises(UserError, match=rf"list\.txt:2: {told}"):
        listed(folder, name, f"{good.get(name, 'x/a.jpg 1')}\n{line}\n")


def test_an_identity_beyond_the_heads_is_told(folder):
    with pytest.raises(UserError, match=r"list\.txt:2: label 10 is outside 0 \.\. 9"):
        listed(folder, "VeriWild", "x/a.jpg 3 7\nx/a.jpg 10 7\n")


def test_missing_images_are_told(folder):
    with pytest.raises(UserError, match=r"list\.txt:1: no such image .*z\.jpg"):
        listed(folder, "VeriWild", "x/z.jpg 3 7\n")


def boxed(folder, text, box):
    (folder / "boxes" / "x").mkdir(parents=True)
    (folder / "boxes" / "x" / "d.txt").write_text(box)
    return listed(folder, "CompCars", text, label_root=str(folder / "boxes"), bbox_crop=True)


def test_cars_have_boxes_in_files_of_their_own(folder):
    """A name ends at its first dot."""
    assert boxed(folder, "x/d.e.jpg 4\n", "1\n2\n10 20 30 40\n").boxes.tolist() == [[10, 20, 30, 40]]


@pytest.mark.parametrize(
    ("text", "box", "told"),
    [
        ("x/d.e.jpg 4\n", "10 20 30\n", r"d\.txt: expected a box x1 y1 x2 y2 in the last line, found '10 20 30'"),
        ("x/d.e.jpg 4\n", "10 20 10 40", r"d\.txt: the box 10 20 10 40 is empty"),
        ("x/d.e.jpg 4\n", "", r"d\.txt: .*found an empty file"),
        ("x/a.jpg 4\n", "1 1 2 2", r"a\.txt: no such file"),
    ],
)
def test_a_box_that_cannot_be_is_told(folder, text, box, told):
    with pytest.raises(UserError, match=told):
        boxed(folder, text, box)


def test_boxes_need_a_folder(folder):
    with pytest.raises(ValidationError, match="label_root|is needed for bbox_crop"):
        listed(folder, "CompCars", "x/a.jpg 4\n", bbox_crop=True)


def test_a_car_is_cut_out_before_the_other_transforms(folder):
    image = np.zeros((40, 60, 3), np.uint8)
    image[20:40, 10:30] = 200
    cv2.imwrite(str(folder / "images" / "x" / "a.png"), image)
    (folder / "boxes" / "x").mkdir(parents=True)
    (folder / "boxes" / "x" / "a.txt").write_text("10 20 30 40")
    (folder / "list.txt").write_text("x/a.png 0\n")
    options = {
        "dataset": {
            "name": "CompCars",
            "image_root": str(folder / "images"),
            "cls_label_path": str(folder / "list.txt"),
            "label_root": str(folder / "boxes"),
            "bbox_crop": True,
            "transform_ops": ["DecodeImage", {"ResizeImage": {"size": 8}}],
        },
        "sampler": {"batch_size": 1},
    }
    loader = build_loader(LoaderConfig.model_validate(options), class_num=1, seed=0, training=False)
    ((images, _),) = loader
    assert images.shape == [1, 3, 8, 8]
    assert images.numpy().min() == 200
    (folder / "boxes" / "x" / "a.txt").write_text("70 20 80 40")
    loader = build_loader(LoaderConfig.model_validate(options), class_num=1, seed=0, training=False)
    with pytest.raises(UserError, match=r"a\.png: the box 70 20 80 40 lies outside"):
        list(loader)


def persons(root, name, place, files, *, split="bounding_box_train", class_num=10):
    folder = root / place / split
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(b"x")
    made = dataset(name, image_root=str(root), cls_label_path=split)
    made.check_paths(WHERE)
    return made.read(class_num=class_num, where=WHERE)


MARKET = "market1501/Market-1501-v15.09.15"


def test_persons_are_told_by_names_and_numbered_in_training(tmp_path):
    files = ["0007_c2s1_1.jpg", "0002_c1s1_1.jpg", "-1_c3s1_1.jpg", "0007_c6s2_9.jpg", "Thumbs.db"]
    found = persons(tmp_path, "Market1501", MARKET, files)
    assert [path.rpartition("/")[2] for path in found.paths] == [
        "0002_c1s1_1.jpg",
        "0007_c2s1_1.jpg",
        "0007_c6s2_9.jpg",
    ]
    assert found.labels.tolist() == [[0, 0], [1, 1], [1, 5]]
    assert found.numbering.tolist() == [2, 7]


@pytest.mark.parametrize(
    ("name", "place", "file", "labels"),
    [
        ("Market1501", MARKET, "0007_c2s1_1.jpg", [7, 1]),
        ("DukeMTMC", "dukemtmc/DukeMTMC-reID", "0007_c8_f1.jpg", [7, 7]),
        ("MSMT17", "msmt17/MSMT17_V1", "0007_c15_x.jpg", [7, 14]),
    ],
)
def test_elsewhere_persons_keep_their_numbers(tmp_path, name, place, file, labels):
    assert persons(tmp_path, name, place, [file], split="query").labels.tolist() == [labels]


def test_a_name_of_another_kind_and_an_empty_folder_are_told(tmp_path):
    with pytest.raises(UserError, match=r"cat\.jpg: expected a name such as 0002_c1s1_000451_03\.jpg"):
        persons(tmp_path, "Market1501", MARKET, ["cat.jpg"])
    with pytest.raises(UserError, match=r"query: has no \.jpg files"):
        persons(tmp_path, "Market1501", MARKET, [], split="query")


def test_more_persons_than_the_head_tells_apart_are_told(tmp_path):
    files = [f"{index:04}_c1s1_1.jpg" for index in range(1, 12)]
    with pytest.raises(UserError, match=r"identity 10 is outside 0 \.\. 9.*the folder has 11"):
        persons(tmp_path, "Market1501", MARKET, files)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=rf"{WHERE}\.cls_label_path: .*nothing at .*market1501"):
        dataset("Market1501", image_root=str(tmp_path), cls_label_path="query").check_paths(WHERE)


def test_transforms_need_not_begin_with_decoding():
    ops = [{"ResizeImage": {"size": [128, 256], "return_numpy": False, "backend": "pil"}}, "ToTensor"]
    made = dataset("Market1501", image_root="x", cls_label_path="query", backend="pil", transform_ops=ops)
    assert [type(op).__name__ for op in made.transform_ops] == ["DecodeImage", "ResizeImage", "ToTensor"]
    assert made.transform_ops[0].backend == "pil"
    made = dataset("VeriWild", image_root="x", cls_label_path="y", transform_ops=[{"Resize": {"size": 8}}])
    assert made.transform_ops[0].backend == "cv2"


def test_faces_have_upstreams_keys(folder):
    (folder / "list.txt").write_text("x/a.jpg 4\n")
    ops = ["RandomHorizontalFlip", "ToTensor", {"Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}]
    section = {"name": "AdaFaceDataset", "root_dir": str(folder / "images"), "label_path": str(folder / "list.txt")}
    made = TypeAdapter(named(DATASETS)).validate_python({**section, "transform": ops})
    assert type(made.transform_ops[0]).__name__ == "DecodeImage"
    assert made.read(class_num=5, where=WHERE).labels.tolist() == [4]
    with pytest.raises(UserError, match=r"list\.txt:1: label 4 is outside 0 \.\. 3"):
        made.read(class_num=4, where=WHERE)


def test_pairs_of_faces_are_for_their_own_evaluation():
    made = TypeAdapter(named(DATASETS)).validate_python({"name": "FiveValidationDataset", "val_data_path": "x"})
    with pytest.raises(UserError, match="it is for Global.eval_mode: adaface"):
        made.read(class_num=4, where=WHERE)


@pytest.mark.parametrize("name", ["VeriWild", "Market1501", "ICartoonDataset"])
def test_random_labels_come_in_pairs_below_the_class_count(name):
    made = dataset(name, image_root="x", cls_label_path="y")
    labels = made.draw(np.random.default_rng(0), 8, 5)
    own = labels[:, 0] if labels.ndim == 2 else labels
    assert (own[::2] == own[1::2]).all()
    assert own.max() < 5
