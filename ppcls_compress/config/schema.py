"""The whole configuration: the sections of a YAML file as one frozen object."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, create_model, field_validator, model_validator

from ppcls_compress.config import sections
from ppcls_compress.config.attention import without_attention_models
from ppcls_compress.config.auto import Auto
from ppcls_compress.config.grey import decode_grey
from ppcls_compress.config.label_kinds import check_kinds, with_defaults
from ppcls_compress.config.retrieval import check_evaluation, complete
from ppcls_compress.config.together import check_networks, student_of
from ppcls_compress.config.train_modes import check_mode
from ppcls_compress.data.options import EvalSplit, LoaderConfig, MetaSplit
from ppcls_compress.data.transforms import TRANSFORMS, TransformOps
from ppcls_compress.declare import Options, at_key, named, refuse_unknown_keys
from ppcls_compress.declare.kinds import boolean_for_number, no_section
from ppcls_compress.models.decoder_options import DecoderOptions
from ppcls_compress.optim.optimizers import OptimizerSection
from ppcls_compress.postprocess import POST_PROCESSES, PostProcess, Topk
from ppcls_compress.postprocess.features import FeatureOutput
from ppcls_compress.slim.options import SlimOptions


def _step(kind: type) -> Any:
    """The type of a step's key: the dataclass `kind` or None; errors tell its `example`."""
    return Annotated[kind, BeforeValidator(partial(_checked, kind))] | None


def _checked(kind: type, data: Any) -> Any:
    """Refuses what a dataclass takes no better than a section of options does: unknown keys, plain values."""
    if isinstance(data, kind):
        return data
    hints, keys = get_type_hints(kind), [field.name.rstrip("_") for field in fields(kind)]
    if not isinstance(data, dict):
        raise ValueError(no_section(data, keys, kind.example))
    refuse_unknown_keys(data, keys)
    for key, value in data.items():
        problem = boolean_for_number(hints.get(key, hints.get(f"{key}_")), value)
        if problem is not None:
            raise at_key(key, problem)
    return data


_STEPS = {key: get_args(hint)[0] for key, hint in get_type_hints(SlimOptions).items()}
_Steps = create_model("_Steps", __base__=Options, **{key: (_step(kind), None) for key, kind in _STEPS.items()})


class SlimSection(_Steps):
    """What makes the model smaller, in the order of `SlimOptions`; what it learns from meanwhile; or what to search."""

    distill: sections.Distill | None = None
    auto: Auto | None = None

    @model_validator(mode="after")
    def _chosen_by_hand_or_searched(self) -> SlimSection:
        by_hand = [key for key in (*_STEPS, "distill") if getattr(self, key) is not None]
        if self.auto is not None and by_hand:
            raise at_key("auto", f"chooses {' and '.join(by_hand)} itself; leave these sections out")
        return self

    @property
    def options(self) -> SlimOptions:
        """The same as the library's own option object, which knows nothing of YAML."""
        return SlimOptions(**{key: getattr(self, key) for key in _STEPS})


class DataLoaderSection(Options):
    """The loaders for training and for evaluation.

    Attributes:
        Metalearning: what gates learn from with `Global.train_mode: metabin`.
    """

    example: ClassVar[str] = "{Train: {dataset: {...}, sampler: {...}, loader: {...}}, Eval: {...}}"

    Train: LoaderConfig | None = None
    Eval: EvalSplit | None = None
    Metalearning: MetaSplit | None = None


class InferSection(Options):
    """What `infer` reads, and the transforms that an exported model carries with it."""

    infer_imgs: str | None = None
    batch_size: sections.Count = 10
    transforms: TransformOps = ()
    PostProcess: named(POST_PROCESSES, default="Topk", example="{name: Topk, topk: 5}") = Topk(topk=5)

    @field_validator("transforms")
    @classmethod
    def _same_answer_each_time(cls, value: TransformOps) -> TransformOps:
        for number, op in enumerate(value):
            if op.is_random:
                name = TRANSFORMS.name_of(op)
                raise at_key(
                    f"{number}.{name}", "draws at random, and the same image must get the same answer each time"
                )
        return value


class Config(Options):
    """One experiment, under PaddleClas' section names."""

    Global: sections.Global = Field(default_factory=sections.Global)
    Arch: Annotated[sections.Arch, AfterValidator(student_of)]
    MLDecoder: DecoderOptions = DecoderOptions()
    Slim: SlimSection | None = None
    AMP: sections.Amp | None = None
    Loss: sections.Loss | None = None
    Metric: sections.Metric = Field(default_factory=sections.Metric)
    Optimizer: OptimizerSection | None = None
    EMA: sections.Ema | None = None
    DataLoader: DataLoaderSection = Field(default_factory=DataLoaderSection)
    Infer: InferSection | None = None
    IndexProcess: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _grey_images(cls, data: Any) -> Any:
        return decode_grey(data)

    @model_validator(mode="before")
    @classmethod
    def _attention(cls, data: Any) -> Any:
        return without_attention_models(data)

    @model_validator(mode="before")
    @classmethod
    def _recognition(cls, data: Any) -> Any:
        return complete(data)

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, data: Any) -> Any:
        """A section left empty in YAML (`Metric:`) is null; where a section has defaults it means those."""
        if isinstance(data, dict):
            filled = {key for key, field in cls.model_fields.items() if field.default is not None}
            return {key: value for key, value in data.items() if value is not None or key not in filled}
        return data

    @model_validator(mode="before")
    @classmethod
    def _defaults_for_several_labels(cls, data: Any) -> Any:
        return with_defaults(data)

    @model_validator(mode="after")
    def _of_one_kind_of_labels(self) -> Config:
        check_kinds(self)
        return self

    @model_validator(mode="after")
    def _of_one_evaluation(self) -> Config:
        check_evaluation(self)
        return self

    @model_validator(mode="after")
    def _of_networks_that_there_are(self) -> Config:
        check_networks(self)
        return self

    @model_validator(mode="after")
    def _of_one_way_to_train(self) -> Config:
        check_mode(self)
        return self

    @property
    def post_process(self) -> PostProcess:
        """What inference makes of what the network gives."""
        if self.Arch.gives_features:
            options = self.Global
            return FeatureOutput(normalize=options.feature_normalize, binarize=options.feature_binarize)
        return self.Infer.PostProcess if self.Infer else Topk(topk=5)

    @property
    def drops_quantization(self) -> bool:
        """Whether quantization that the weights have is to go: `Slim: null` or `Slim.quant: null` is written down."""
        if self.Slim is None:
            return "Slim" in self.model_fields_set
        return self.Slim.quant is None and "quant" in self.Slim.model_fields_set
