import pytest
from support.project import make_project

from ppcls_compress.config.load import load_config
from ppcls_compress.data import build_loader
from ppcls_compress.errors import ConfigError
from ppcls_compress.search import split, trial


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("split"))


def contract(file, *more):
    auto = "Slim.auto={max_drop: 1, minimize: bytes, seed: 4}"
    return load_config(file, [auto, *more])


def images(config):
    found = build_loader(config.DataLoader.Eval, class_num=3, seed=0, training=False, shard=False)
    assert sum(len(labels) for _, labels in found) == len(found.images)
    return found.images


def test_halves_share_no_image_and_are_the_same_each_time(file):
    seen, kept = map(images, split.halves(contract(file)))
    assert len(seen) == len(kept) == 6
    assert not set(seen.paths) & set(kept.paths)
    assert images(split.halves(contract(file))[0]).paths == seen.paths
    assert images(split.halves(contract(file, "Slim.auto.seed=5"))[0]).paths != seen.paths
    assert [int(path[-7:-4]) % 3 for path in seen.paths] == seen.labels.tolist()


def test_a_list_of_the_users_decides(file):
    other = file.parent / "images" / "train_list.txt"
    seen, kept = map(images, split.halves(contract(file, f"Slim.auto.decide={other}")))
    assert (len(seen), len(kept)) == (12, 24)
    with pytest.raises(ConfigError, match=r"^Slim.auto.decide: missing.txt does not exist"):
        split.halves(contract(file, "Slim.auto.decide=missing.txt"))


@pytest.mark.parametrize("mode", ["Train", "Eval"])
def test_images_that_decide_are_in_no_other_list(file, mode):
    images = file.parent / "images"
    (images / "own.txt").write_text("train/../val/003.png 0\ntrain/004.png 1\n")
    (images / "train.txt").write_text("train/005.png 2\n")
    left = {"Train": "train.txt", "Eval": "train.txt"} | ({"Eval": "val_list.txt"} if mode == "Eval" else {})
    left |= {"Train": "train_list.txt"} if mode == "Train" else {}
    lists = [f"DataLoader.{name}.dataset.cls_label_path={images / list_}" for name, list_ in left.items()]
    config = contract(file, f"Slim.auto.decide={images / 'own.txt'}", *lists)
    with pytest.raises(
        ConfigError, match=rf"decide: 1 of the 2 images .* are in DataLoader.{mode} too, such as .*00[34].png"
    ):
        split.check_apart(*split.halves(config))
    (images / "own.txt").write_text("train/006.png 0\n")
    if mode == "Eval":
        split.check_apart(*split.halves(config))


def test_a_half_that_was_trained_on_does_not_decide(file):
    config = contract(file, f"DataLoader.Eval.dataset.cls_label_path={file.parent / 'images' / 'train_list.txt'}")
    with pytest.raises(ConfigError, match=r"DataLoader.Eval: 12 of the 12 images that decide are in DataLoader.Train"):
        split.check_apart(*split.halves(config))
    split.check_apart(*split.halves(contract(file)))


def test_what_is_listed_twice_decides_once(file):
    folder, plain = file.parent / "images", contract(file)
    lines = (folder / "val_list.txt").read_text().splitlines()
    (folder / "twice.txt").write_text("\n".join([*lines, *(f"train/../{line}" for line in lines[:5])]) + "\n")
    config = contract(file, f"DataLoader.Eval.dataset.cls_label_path={folder / 'twice.txt'}")
    split.check_apart(*split.halves(config))
    before, found = ([images(each).paths for each in split.halves(each)] for each in (plain, config))
    assert found == before
    (folder / "own.txt").write_text("train/000.png 0\ntrain/001.png 1\nval/../train/000.png 0\n")
    _, kept = split.halves(contract(file, f"Slim.auto.decide={folder / 'own.txt'}"))
    assert [path[-7:] for path in images(kept).paths] == ["000.png", "001.png"]


def test_a_recipe_trains_without_looking_at_images_that_decide(file, tmp_path):
    base = {"Global": {"seed": 1}, "Optimizer": {"name": "Momentum", "lr": {"learning_rate": "1e-2", "name": "Cosine"}}}
    found = trial.recipe(base, {"quant": {"name": "pact"}}, tmp_path, epochs=3, rate=0.5)
    assert found["Global"] == {
        "seed": 1,
        "epochs": 3,
        "eval_during_train": False,
        "save_interval": 0,
        "output_dir": f"{tmp_path}/run",
        "save_inference_dir": f"{tmp_path}/artifact",
    }
    assert base["Global"] == {"seed": 1}


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ({"lr": {"learning_rate": 0.1, "warmup_epoch": 5}}, {"lr": {"learning_rate": 0.05, "warmup_epoch": 5}}),
        ({"lr": 0.1}, {"lr": 0.05}),
        ({"lr": {"name": "Piecewise", "values": [1, 0.5]}}, {"lr": {"name": "Piecewise", "values": [0.5, 0.25]}}),
        ({"lr": {"learning_rate": "0.1/2"}}, {"lr": {"learning_rate": "(0.1/2)*0.5"}}),
        ([{"SGD": {"lr": {"learning_rate": 1.0}}}], [{"SGD": {"lr": {"learning_rate": 0.5}}}]),
    ],
)
def test_the_learning_rate_is_multiplied_wherever_it_stands(optimizer, expected):
    assert trial.scaled(optimizer, 0.5) == expected
