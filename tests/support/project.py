"""A small project on disk: pictures of three classes, their lists, and a configuration that trains on them."""

from pathlib import Path

import cv2
import numpy as np
import yaml

CLASSES = 3
SIZE = 8


def write_images(folder: Path, count: int, seed: int) -> list[str]:
    """Noisy pictures whose class is the brightest channel; the lines of their list."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lines = []
    for index in range(count):
        label = index % CLASSES
        image = rng.integers(0, 100, (SIZE, SIZE, 3), dtype=np.uint8)
        image[..., label] += 120
        name = f"{folder.name}/{index:03}.png"
        cv2.imwrite(str(folder / f"{index:03}.png"), image)
        lines.append(f"{name} {label}")
    return lines


def make_project(root: Path, **sections) -> Path:
    """Write pictures, lists and `config.yaml` below `root`; `sections` replace or add sections of the configuration."""
    for split, count in (("train", 24), ("val", 12)):
        lines = write_images(root / "images" / split, count, seed=count)
        (root / "images" / f"{split}_list.txt").write_text("\n".join(lines) + "\n")
    (root / "images" / "label_list.txt").write_text("0 blue\n1 green\n2 red\n")
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(config(root) | sections))
    return path


def config(root: Path) -> dict:
    """The configuration as a plain dictionary."""
    images = str(root / "images")
    ops = [{"DecodeImage": {"to_rgb": False}}, {"NormalizeImage": {"mean": [0.5] * 3, "std": [0.25] * 3, "order": ""}}]

    def loader(split, **sampler):
        return {
            "dataset": {
                "name": "ImageNetDataset",
                "image_root": images,
                "cls_label_path": f"{images}/{split}_list.txt",
                "transform_ops": ops,
            },
            "sampler": {"name": "DistributedBatchSampler", "batch_size": 8, **sampler},
            "loader": {"num_workers": 0},
        }

    return {
        "Global": {
            "epochs": 2,
            "output_dir": str(root / "output"),
            "save_inference_dir": str(root / "inference"),
            "image_shape": [3, SIZE, SIZE],
            "device": "cpu",
        },
        "Arch": {"name": "CIFARResNet8", "class_num": CLASSES},
        "Loss": {"Train": [{"CELoss": {"weight": 1.0}}], "Eval": [{"CELoss": {"weight": 1.0}}]},
        "Optimizer": {"name": "Momentum", "lr": {"name": "Cosine", "learning_rate": 0.05}},
        "DataLoader": {"Train": loader("train", shuffle=True), "Eval": loader("val")},
        "Infer": {
            "infer_imgs": f"{images}/val",
            "transforms": [*ops, {"ToCHWImage": None}],
            "PostProcess": {"name": "Topk", "topk": 2, "class_id_map_file": f"{images}/label_list.txt"},
        },
        "Metric": {"Train": [{"TopkAcc": {"topk": [1]}}], "Eval": [{"TopkAcc": {"topk": [1, 2]}}]},
    }


ATTRIBUTES = ("blue", "not_red")


def attribute_config(root: Path) -> dict:
    """The configuration for two labels of each picture, as a plain dictionary."""
    data = config(root)
    data["Global"]["use_multilabel"] = True
    data["Arch"]["class_num"] = len(ATTRIBUTES)
    for mode in ("Train", "Eval"):
        data["DataLoader"][mode]["dataset"]["name"] = "MultiLabelDataset"
        data["Loss"][mode] = [{"MultiLabelLoss": {"weight": 1.0}}]
    data["Metric"] = {"Eval": [{"ATTRMetric": {"threshold": 0}}]}
    data["Infer"]["PostProcess"] |= {"name": "MultiLabelThreshOutput", "threshold": 0.5}
    del data["Infer"]["PostProcess"]["topk"]
    return data


def make_attribute_project(root: Path) -> Path:
    """`make_project` with two labels for each picture: whether it is blue, and whether it is not red."""
    path = make_project(root, **attribute_config(root))
    for split in ("train", "val"):
        lists = root / "images" / f"{split}_list.txt"
        pairs = (line.split() for line in lists.read_text().splitlines())
        lists.write_text("".join(f"{name}\t{int(label == '0')},{int(label != '2')}\n" for name, label in pairs))
    (root / "images" / "label_list.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(ATTRIBUTES)))
    return path
