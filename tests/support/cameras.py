"""A small project of identities that several cameras saw, trained by meta-learning as PaddleClas' file says."""

from pathlib import Path

import cv2
import numpy as np
import yaml

IDENTITIES, CAMERAS, SIZE = 3, 3, 16
_CE = {"CELossForMetaBIN": {"weight": 1.0, "epsilon": 0.1}}
_TRIPLET = {"TripletLossForMetaBIN": {"weight": 1.0, "margin": 0.3, "feature_from": "backbone"}}
_DOMAINS = [
    {"IntraDomainScatterLoss": {"normalize_feature": True, "feature_from": "backbone"}},
    {"InterDomainShuffleLoss": {"normalize_feature": False, "feature_from": "backbone"}},
]


def write_cameras(root: Path, *, cameras: int = CAMERAS) -> None:
    """Two pictures of each identity by each camera, and their list: `images/list.txt`."""
    rng, lines = np.random.default_rng(0), []
    (root / "images").mkdir(parents=True, exist_ok=True)
    for index in range(2 * IDENTITIES * cameras):
        identity, camera = index % IDENTITIES, index // IDENTITIES % cameras
        image = rng.integers(0, 100, (SIZE, SIZE, 3), dtype=np.uint8) + np.uint8(30 * camera)
        image[..., identity] += 60
        cv2.imwrite(str(root / "images" / f"{index}.png"), image)
        lines.append(f"{index}.png {identity} {camera}")
    (root / "images/list.txt").write_text("\n".join(lines) + "\n")


def camera_config(root: Path) -> dict:
    """What trains on them."""

    def split(name: str, **sampler) -> dict:
        return {
            "dataset": {
                "name": "VeriWild",
                "image_root": str(root / "images"),
                "cls_label_path": str(root / "images/list.txt"),
                "transform_ops": [{"RandFlipImage": {"flip_code": 1}}, {"NormalizeImage": {"order": ""}}],
            },
            "sampler": {"name": name, **sampler},
        }

    meta = split("DomainShuffleBatchSampler", batch_size=12, num_instances=2, camera_to_domain=True)
    return {
        "Global": {
            "epochs": 2,
            "iter_per_epoch": 2,
            "warmup_iter": 2,
            "eval_during_train": False,
            "eval_mode": "retrieval",
            "train_mode": "metabin",
            "output_dir": str(root / "output"),
            "image_shape": [3, SIZE, SIZE],
        },
        "Arch": {
            "name": "RecModel",
            "Backbone": {"name": "ResNet50_metabin", "bias_lr_factor": 2.0},
            "BackboneStopLayer": {"name": "flatten"},
            "Neck": {"name": "MetaBNNeck", "num_features": 2048, "use_global_stats": True},
            "Head": {"name": "FC", "embedding_size": 2048, "class_num": IDENTITIES, "bias_attr": False},
        },
        "Loss": {
            "Train": [_CE, _TRIPLET, *_DOMAINS],
            "Basic": [_CE, _TRIPLET],
            "MetaTrain": [_CE, _TRIPLET, *_DOMAINS],
            "MetaTest": [_CE, _TRIPLET],
        },
        "Optimizer": [
            {
                "Momentum": {
                    "scope": ".*(conv|batch_norm|instance_norm|feat_bn|fc)",
                    "lr": {"name": "Constant", "learning_rate": 0.01},
                }
            },
            {"SGD": {"scope": "backbone.*gate", "lr": {"name": "Constant", "learning_rate": 0.2}}},
            {"SGD": {"scope": "RecModel", "lr": {"name": "Constant", "learning_rate": 0.1}}},
        ],
        "DataLoader": {
            "Train": split("NaiveIdentityBatchSampler", batch_size=6, num_instances=2),
            "Metalearning": {"Train": meta},
        },
    }


def make_camera_project(root: Path, *, features: int = 2048) -> Path:
    """Both, with `config.yaml`; `features` are those that the backbone gives."""
    write_cameras(root)
    config = camera_config(root)
    config["Arch"]["Neck"]["num_features"] = config["Arch"]["Head"]["embedding_size"] = features
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
