"""Data sets, written as in `DataLoader.<split>.dataset` of PaddleClas YAML files, and the loader's other options."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from ppcls_compress.data.labels import LabelledImages, read_labelled_images
from ppcls_compress.data.places import Places
from ppcls_compress.data.samplers import SAMPLERS
from ppcls_compress.data.transforms import BATCH_TRANSFORMS, BatchTransformOps, TransformOps
from ppcls_compress.declare import LARGEST, Declarations, Options, at_key, named
from ppcls_compress.declare.paths import check_path


class Dataset(Options):
    """What every data set has.

    Attributes:
        transform_ops: per image, in this order.
        batch_transform_ops: per batch, in this order; they make labels soft.
        skip_bad_images: how many unreadable images are passed over before the run stops.
        allow_outside: take images that lie outside their folder, by `..`, by an absolute path or behind a link.
    """

    transform_ops: TransformOps
    batch_transform_ops: BatchTransformOps = ()
    skip_bad_images: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    allow_outside: bool = False

    @field_validator("transform_ops")
    @classmethod
    def _images_are_decoded(cls, value: TransformOps) -> TransformOps:
        if not value:
            raise ValueError("the list is empty; it must start with DecodeImage")
        return value

    def check_paths(self, where: str) -> None:
        """Whether what the data set points at is there; `where` is the key of its section.

        Raises:
            ConfigError: a path is missing.
        """
        raise TypeError(f"{type(self).__name__} has no check_paths of its own")

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The images and their labels; `where` is the key of the section.

        Raises:
            ConfigError: a path is missing.
            UserError: the lists cannot be used; with file and line.
        """
        raise TypeError(f"{type(self).__name__} has no read of its own")


DATASETS: Declarations[Dataset] = Declarations("dataset")


@DATASETS.declare
class ImageNetDataset(Dataset):
    """A folder of images and a label file.

    Attributes:
        image_root: folder that the label file's paths are relative to. Here and in `cls_label_path`, `$NAME` is taken
            from the environment when the data set is opened.
        cls_label_path: label file with lines `relative/path label`.
        delimiter: what stands between path and label; None is white space.
        relabel: number the labels that occur 0, 1, ... in ascending order.
    """

    image_root: str
    cls_label_path: str
    delimiter: Annotated[str, Field(min_length=1)] | None = None
    relabel: bool = False

    def check_paths(self, where: str) -> None:
        """The label file and the folder."""
        check_path(f"{where}.cls_label_path", self.cls_label_path, "file")
        check_path(f"{where}.image_root", self.image_root, "folder")

    def read(self, *, class_num: int, where: str) -> LabelledImages:
        """The lines of the label file, each checked."""
        return read_labelled_images(
            places=Places(
                check_path(f"{where}.image_root", self.image_root, "folder"), allow_outside=self.allow_outside
            ),
            label_file=check_path(f"{where}.cls_label_path", self.cls_label_path, "file"),
            class_num=class_num,
            delimiter=self.delimiter,
            relabel=self.relabel,
            missing_allowed=self.skip_bad_images,
            where=where,
        )


class WorkerOptions(Options):
    """`DataLoader.<split>.loader`.

    Attributes:
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        use_shared_memory: hand batches over in /dev/shm; False where that is too small, as in some containers.
    """

    num_workers: Annotated[int, Field(ge=0, le=1024)] = 0
    use_shared_memory: bool = True


class LoaderConfig(Options):
    """One split of the `DataLoader` section."""

    dataset: named(DATASETS, default="ImageNetDataset")
    sampler: named(SAMPLERS, default="DistributedBatchSampler")
    loader: WorkerOptions = WorkerOptions()


class EvalLoaderConfig(LoaderConfig):
    """The split that metrics are measured on, whose labels stay whole."""

    @field_validator("dataset")
    @classmethod
    def _labels_stay_whole(cls, value: Dataset) -> Dataset:
        if value.batch_transform_ops:
            names = ", ".join(BATCH_TRANSFORMS.name_of(op) for op in value.batch_transform_ops)
            raise at_key(
                "batch_transform_ops",
                f"found {names}, which mix labels; only DataLoader.Train can have batch transforms",
            )
        return value
