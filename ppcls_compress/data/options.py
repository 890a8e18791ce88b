"""One split of the `DataLoader` section: its data set, its sampler, and the loader's other options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from ppcls_compress.data.datasets import DATASETS, Dataset
from ppcls_compress.data.datasets.multi_scale import MultiScaleDataset
from ppcls_compress.data.samplers import SAMPLERS, Sampler
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

    def check_paths(self, where: str) -> None:
        """Whether the files and folders are there; `where` is the key of the split.

        Raises:
            ConfigError: one is missing.
        """
        self.dataset.check_paths(f"{where}.dataset")

    def splits(self, where: str) -> dict[str, LoaderConfig]:
        """What is loaded, by key; `where` is the key of the split."""
        return {where: self}


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


class QueryGallery(Options):
    """The images that are looked for, and those among which they are; one of them alone is both.

    The properties are those of the queries.
    """

    Query: EvalLoaderConfig | None = None
    Gallery: EvalLoaderConfig | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> QueryGallery:
        if self.Query is None and self.Gallery is None:
            raise at_key("Query", "required, but not given")
        return self

    @property
    def query(self) -> EvalLoaderConfig:
        """The images that are looked for."""
        return self.Query or self.Gallery

    @property
    def gallery(self) -> EvalLoaderConfig:
        """The images among which they are."""
        return self.Gallery or self.Query

    @property
    def dataset(self) -> Dataset:
        """Of the queries."""
        return self.query.dataset

    @property
    def sampler(self) -> Sampler:
        """Of the queries."""
        return self.query.sampler

    @property
    def loader(self) -> WorkerOptions:
        """Of the queries."""
        return self.query.loader

    def check_paths(self, where: str) -> None:
        """Of both."""
        for key, split in self.splits(where).items():
            split.check_paths(key)

    def splits(self, where: str) -> dict[str, LoaderConfig]:
        """Queries first."""
        found = {f"{where}.Query": self.Query, f"{where}.Gallery": self.Gallery}
        return {key: split for key, split in found.items() if split is not None}


def _kind(value: Any) -> str:
    return "paired" if isinstance(value, QueryGallery) or _has_parts(value) else "single"


def _has_parts(value: Any) -> bool:
    return isinstance(value, Mapping) and bool({"Query", "Gallery"} & set(value))


class MetaSplit(Options):
    """`DataLoader.Metalearning`, under PaddleClas' keys."""

    Train: LoaderConfig

    def check_paths(self, where: str) -> None:
        """Of the one split."""
        self.Train.check_paths(f"{where}.Train")

    def splits(self, where: str) -> dict[str, LoaderConfig]:
        """The one split."""
        return {f"{where}.Train": self.Train}


EvalSplit = Annotated[
    Annotated[EvalLoaderConfig, Tag("single")] | Annotated[QueryGallery, Tag("paired")], Discriminator(_kind)
]
"""`DataLoader.Eval`: one split, or queries and a gallery."""
