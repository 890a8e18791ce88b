"""One split of the `DataLoader` section: its data set, its sampler, and the loader's other options."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from ppcls_compress.data.datasets import DATASETS, Dataset
from ppcls_compress.data.datasets.multi_scale import MultiScaleDataset
from ppcls_compress.data.samplers import SAMPLERS
from ppcls_compress.data.samplers.scales import MultiScaleSampler
from ppcls_compress.data.transforms import BATCH_TRANSFORMS
from ppcls_compress.declare import Options, at_key, named


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

    @model_validator(mode="after")
    def _sizes_are_followed(self) -> Self:
        if isinstance(self.sampler, MultiScaleSampler) and not isinstance(self.dataset, MultiScaleDataset):
            raise at_key("dataset.name", "must be MultiScaleDataset, whose images take the sizes of MultiScaleSampler")
        return self


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
