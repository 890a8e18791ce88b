"""The configuration that an exported model stands for, where it is evaluated without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ppcls_compress.config.load import validate
from ppcls_compress.config.schema import Config
from ppcls_compress.data.folder import root_of
from ppcls_compress.data.transforms.lists import dump_transforms
from ppcls_compress.deploy.artifact import Artifact
from ppcls_compress.errors import ConfigError, UserError

_LIST = "val_list.txt"


def config_of(exported: Artifact, class_num: int, images: str | None = None) -> Config:
    """What evaluating a classifier takes: its preprocessing, and labelled images.

    Args:
        class_num: how many classes it tells apart.
        images: a folder with `val_list.txt`; None takes the validation images that the artifact names.

    Raises:
        UserError: it gives no classes, does not tell its preprocessing, or there are no such images.
    """
    description, where = exported.description, exported.directory
    if description.output in ("features", "label_probabilities"):
        raise ConfigError(f"{where}: gives {description.output}; name the configuration that says how to judge it, -c")
    if not description.preprocess:
        raise UserError(f"{where}: does not tell how to prepare an image; name its configuration with -c")
    ops = [op for op in dump_transforms(description.preprocess) if "ToCHWImage" not in op]
    data = {
        "Global": {"image_shape": list(description.image_shape)},
        "Arch": {"name": description.model_name or "exported", "class_num": class_num},
        "DataLoader": {
            "Eval": {
                "dataset": {"name": "ImageNetDataset", **_images(exported, images), "transform_ops": ops},
                "sampler": {"name": "DistributedBatchSampler", "batch_size": 32, "shuffle": False},
                "loader": {"num_workers": 2},
            }
        },
        "Metric": {"Eval": [{"TopkAcc": {"topk": [1] if class_num <= 5 else [1, 5]}}]},
    }
    return validate(data, source=str(where))


def _images(exported: Artifact, folder: str | None) -> Mapping[str, str]:
    if folder is not None:
        file = Path(folder) / _LIST
        if not file.is_file():
            raise ConfigError(
                f"--images: {file} is not there; a folder with lists is needed, as "
                "`python -m ppcls_compress.data.folder ROOT --out DIR` writes it"
            )
        return {"image_root": str(root_of(folder) or folder), "cls_label_path": str(file)}
    named = exported.description.validation
    lost = [path for path in named.values() if not Path(path).exists()]
    if lost or not named:
        why = f"{lost[0]} is not here, with which it was exported" if lost else "it tells none"
        raise ConfigError(f"--images: name a folder with images and {_LIST}, for {exported.directory}: {why}")
    return named
