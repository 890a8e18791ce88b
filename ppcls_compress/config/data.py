"""Options of data sets, samplers and loaders, written as in the `DataLoader` section of PaddleClas YAML files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ppcls_compress.config.base import Options
from ppcls_compress.config.transforms import BatchTransformOps, PositiveInt, TransformOps
from ppcls_compress.errors import unknown


def _known(kind: str, name: Any, allowed: tuple[str, ...]) -> Any:
    if name not in allowed:
        raise ValueError(unknown(kind, name, allowed))
    return name


class DatasetOptions(Options):
    """`DataLoader.<split>.dataset`.

    Attributes:
        image_root: folder that the label file's paths are relative to. Here and in `cls_label_path`, `$NAME` is taken
            from the environment when the data set is opened.
        cls_label_path: label file with lines `relative/path label`.
        transform_ops: per image, in this order.
        batch_transform_ops: per batch, in this order; they make labels soft.
        delimiter: what stands between path and label; None is white space.
        relabel: number the labels that occur 0, 1, ... in ascending order.
        skip_bad_images: how many unreadable images are passed over before the run stops.
    """

    name: Literal["ImageNetDataset"] = "ImageNetDataset"
    image_root: str
    cls_label_path: str
    transform_ops: TransformOps
    batch_transform_ops: BatchTransformOps = ()
    delimiter: Annotated[str, Field(min_length=1)] | None = None
    relabel: bool = False
    skip_bad_images: Annotated[int, Field(ge=0)] = 0

    @field_validator("name", mode="before")
    @classmethod
    def _known_dataset(cls, value: Any) -> Any:
        return _known("dataset", value, ("ImageNetDataset",))

    @field_validator("transform_ops")
    @classmethod
    def _images_are_decoded(cls, value: TransformOps) -> TransformOps:
        if not value:
            raise ValueError("the list is empty; it must start with DecodeImage")
        return value


class SamplerOptions(Options):
    """`DataLoader.<split>.sampler`: `batch_size` images per process and step."""

    name: Literal["DistributedBatchSampler"] = "DistributedBatchSampler"
    batch_size: PositiveInt
    drop_last: bool = False
    shuffle: bool = False

    @field_validator("name", mode="before")
    @classmethod
    def _known_sampler(cls, value: Any) -> Any:
        return _known("sampler", value, ("DistributedBatchSampler",))


class WorkerOptions(Options):
    """`DataLoader.<split>.loader`.

    Attributes:
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        use_shared_memory: hand batches over in /dev/shm; False where that is too small, as in some containers.
    """

    num_workers: Annotated[int, Field(ge=0)] = 0
    use_shared_memory: bool = True


class LoaderConfig(Options):
    """One split of the `DataLoader` section."""

    dataset: DatasetOptions
    sampler: SamplerOptions
    loader: WorkerOptions = WorkerOptions()


class EvalDatasetOptions(DatasetOptions):
    """The data set of an evaluation, whose labels stay whole."""

    @field_validator("batch_transform_ops")
    @classmethod
    def _labels_stay_whole(cls, value: BatchTransformOps) -> BatchTransformOps:
        if value:
            names = ", ".join(type(op).__name__ for op in value)
            raise ValueError(f"found {names}, which mix labels; only DataLoader.Train can have batch transforms")
        return value


class EvalLoaderConfig(LoaderConfig):
    """The split that metrics are measured on."""

    dataset: EvalDatasetOptions
