"""The sections of a configuration other than the data and `Slim`: one frozen object each, under PaddleClas' keys."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ppcls_compress.data.images.header import MAX_PIXELS
from ppcls_compress.declare import LARGEST, Count, Fraction, Number, Options, Positive, listed
from ppcls_compress.deploy.formats import FORMATS
from ppcls_compress.errors import shortened, unknown
from ppcls_compress.losses import LOSSES
from ppcls_compress.losses.cross_entropy import CELoss
from ppcls_compress.metrics import METRICS
from ppcls_compress.metrics.topk import TopkAcc
from ppcls_compress.models import upstream


def _by_format(value: Any) -> Any:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return dict.fromkeys(FORMATS, value)
    for name in value:
        if name not in FORMATS:
            raise ValueError(unknown("export format", name, FORMATS))
    return value


Agreement = Annotated[dict[str, Fraction], BeforeValidator(_by_format)]


def _no_key(value: Any) -> Any:
    if not isinstance(value, Together | None):
        raise ValueError("is no key of a file; several networks are Arch.name DistillationModel")
    return value


MOST_CLASSES = 10_000_000
"""Of a network: its last layer alone would not fit into the memory of a machine."""


class SaveEvery(Options):
    """How often `latest` is saved within an epoch: after so many optimizer steps, or minutes."""

    steps: Count | None = None
    minutes: Positive | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> SaveEvery:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("expected either steps or minutes, such as {minutes: 10}")
        return self


class StopEarly(Options):
    """When training ends before its last epoch.

    Attributes:
        patience: evaluations in a row without an improvement.
        metric: what is watched, as the evaluation calls it, `top1` or `loss`; the first metric by default.
        min_delta: what counts as better is more than this, a fraction.
    """

    example: ClassVar[str] = "{patience: 5, metric: top1}"

    patience: Count
    metric: str | None = None
    min_delta: Fraction = 0.0


class Global(Options):
    """What a run as a whole needs.

    Attributes:
        checkpoints: path prefix of a checkpoint to resume from, exactly.
        pretrained_model: path of weights to start from, with or without `.pdparams`.
        image_shape: (channels, height, width) of the network's input; one channel makes all images grey.
        image_channel: the first of `image_shape`, as some PaddleClas files have it; both must agree.
        save_interval: epochs between two checkpoints `epoch_N`; 0 or -1 for none of them.
        start_eval_epoch: the first epoch, from 1, after which there is an evaluation; the last always has one.
        warmup_iter: the step of the weights, from 1, in which the gates of `train_mode: metabin` first learn with them;
            those before it move no rate and count for no epoch.
        infer_imgs: without effect; `Infer.infer_imgs` is read.
        iter_per_epoch: batches in an epoch, instead of as many as there are; the next epoch goes on where it stopped.
        keep_last: how many of the last epochs `latest`, `latest_1` and so on hold; a damaged one falls back to the
            next.
        save_format: `safetensors` writes the weights of each checkpoint, with their record, in that form too.
        save_every: saves `latest` within an epoch too, {steps: 1000} or {minutes: 10}.
        use_multilabel: whether an image has several labels, which are told one by one (by a sigmoid each), and not one
            class out of all (by a softmax).
        update_freq: batches whose gradients are added up before each optimizer step.
        early_stopping: ends the run when it gets no better, {patience: 5, metric: top1}.
        eval_mode: `classification` measures `DataLoader.Eval`; `retrieval` looks for the images of
            `DataLoader.Eval.Query` among those of `DataLoader.Eval.Gallery`; `adaface` tells whether pairs of faces are
            of one person.
        retrieval_feature_from: what is compared, the neck's output or the backbone's.
        feature_normalize: divide features by their length.
        feature_binarize: make codes of -1 and 1: `round` of features from 0 to 1, `sign` of features around 0.
        re_ranking: order the gallery by k-reciprocal neighbours in place of similarity; the distances between all
            images are held in memory.
        sim_block_size: queries that are compared with the gallery at a time.
        train_mode: `progressive` lets the dropout of EfficientNetV2 grow; `metabin` trains gates on other batches than
            weights (MetaBIN); None, or `classification`, is ordinary training.
        export_check_images: images that an exported model is compared on.
        export_agreement: fraction of them whose most likely class, or of their labels that, an exported model must
            share with the trained one, instead of the default; for all formats, or by format. The mean difference of
            logits, relative to the largest, may then be 1 minus it.
    """

    checkpoints: str | None = None
    pretrained_model: str | None = None
    output_dir: str = "./output"
    device: Literal["cpu", "gpu", "xpu", "npu", "mlu", "gcu", "mps"] = "cpu"
    save_interval: Annotated[int, Field(ge=-1, le=LARGEST)] = 1
    keep_last: Count = 2
    save_format: Literal["pdparams", "safetensors"] = "pdparams"
    save_every: SaveEvery | None = None
    early_stopping: StopEarly | None = None
    eval_during_train: bool = True
    eval_interval: Count = 1
    start_eval_epoch: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    epochs: Count = 1
    iter_per_epoch: Count | None = None
    warmup_iter: Count | None = None
    infer_imgs: str | None = None
    print_batch_step: Count = 10
    use_visualdl: bool = False
    use_tensorboard: bool = False
    image_shape: tuple[Count, Count, Count] = (3, 224, 224)
    image_channel: Count | None = None
    save_inference_dir: str = "./inference"
    use_multilabel: bool = False
    update_freq: Count = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    eval_mode: Literal["classification", "retrieval", "adaface"] = "classification"
    retrieval_feature_from: Literal["features", "backbone"] = "features"
    feature_normalize: bool = True
    feature_binarize: Literal["round", "sign"] | None = None
    re_ranking: bool = False
    sim_block_size: Count = 64
    train_mode: Literal["classification", "progressive", "metabin"] | None = None
    to_static: bool = False
    use_dali: bool = False
    export_check_images: Count = 512
    export_agreement: Agreement = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _channels_alone(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("image_channel") is not None and data.get("image_shape") is None:
            return {**data, "image_shape": [data["image_channel"], 224, 224]}
        return data

    @field_validator("image_shape", mode="before")
    @classmethod
    def _channels_height_width(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise ValueError(f"expected [channels, height, width], found {shortened(value)}")
        if value[2] in (1, 3) and value[0] not in (1, 3, 4):
            turned = [value[2], value[0], value[1]]
            raise ValueError(f"channels come first: {shortened(value)} is {shortened(turned)} then")
        return value

    @field_validator("image_shape")
    @classmethod
    def _decodable(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if value[1] * value[2] > MAX_PIXELS:
            raise ValueError(f"{value[2]} x {value[1]} pixels are more than {MAX_PIXELS:,}, the most of an image")
        return value

    @model_validator(mode="after")
    def _one_start(self) -> Global:
        if self.checkpoints and self.pretrained_model:
            raise ValueError("give checkpoints (resume) or pretrained_model (start from weights), not both")
        return self

    @model_validator(mode="after")
    def _stops_by_evaluations(self) -> Global:
        if self.early_stopping is not None and not self.eval_during_train:
            raise ValueError("early_stopping watches evaluations, and eval_during_train is False")
        return self

    @model_validator(mode="after")
    def _channels_agree(self) -> Global:
        if self.image_channel not in (None, self.image_shape[0]):
            raise ValueError(f"image_channel {self.image_channel} contradicts image_shape {list(self.image_shape)}")
        return self


class Arch(Options):
    """The backbone. Keys beyond these are the family's own; the model catalogue checks them by name and type.

    Attributes:
        pretrained: True for the published weights, or a path or URL of weights.
        use_ml_decoder: put an ML-Decoder in the place of the classifier, as the `MLDecoder` section says.
        infer_add_softmax: end the exported network with a softmax, so that it gives probabilities.
        together: the networks that this one is trained with; no key of a file, but what `DistillationModel` becomes.
    """

    model_config = ConfigDict(frozen=True, extra="allow", validate_default=True, allow_inf_nan=False)
    example: ClassVar[str] = "{name: ResNet50, class_num: 1000}"

    name: str
    class_num: Annotated[int, Field(ge=1, le=MOST_CLASSES)] = 1000
    pretrained: bool | str = False
    use_ssld: bool = False
    use_sync_bn: bool = False
    infer_add_softmax: bool = True
    use_ml_decoder: bool = False
    together: Annotated[Together | None, BeforeValidator(_no_key)] = None

    @model_validator(mode="before")
    @classmethod
    def _other_name(cls, data: Any) -> Any:
        """`num_classes`, as files of PaddleClas' WideResNet call it."""
        if isinstance(data, dict) and "num_classes" in data:
            if "class_num" in data:
                raise ValueError("class_num and num_classes are the same: give one of them")
            data = {"class_num" if key == "num_classes" else key: value for key, value in data.items()}
        return data

    @model_validator(mode="before")
    @classmethod
    def _recognition(cls, data: Any) -> Any:
        """Of a recognition model the head counts the classes, and what is deployed are no scores."""
        if not isinstance(data, dict) or data.get("name") != "RecModel" or "class_num" in data:
            return data
        head = data.get("Head")
        classes = head.get("class_num", MOST_CLASSES) if isinstance(head, dict) else MOST_CLASSES
        softmax = data.get("infer_output_key") == "logits"
        return {"infer_add_softmax": softmax, **data, "class_num": classes}

    @property
    def gives_features(self) -> bool:
        """Whether what is deployed are features, to be compared, and no scores of classes."""
        return self.name == "RecModel" and self.family_options.get("infer_output_key", "features") != "logits"

    @model_validator(mode="before")
    @classmethod
    def _of_one_width(cls, data: Any) -> Any:
        """A network that gives scores of its own is as wide as these."""
        if isinstance(data, dict) and isinstance(data.get("name"), str) and data["name"] in upstream.WIDTHS:
            return {"class_num": upstream.WIDTHS[data["name"]], **data}
        return data

    @property
    def family_options(self) -> dict[str, Any]:
        """The keys that the backbone's own builder takes, besides `class_num`."""
        return dict(self.model_extra or {})


class Ema(Options):
    """The exponential moving average of the network, which is evaluated, saved and exported in its place.

    Attributes:
        decay: share of the average that each optimizer step keeps.
    """

    example: ClassVar[str] = "{decay: 0.9999}"

    decay: Annotated[Number, Field(ge=0, lt=1)] = 0.9999


class Network(Options):
    """One of several networks that are trained together.

    Attributes:
        name: what losses call it.
        arch: its own section.
        frozen: learns nothing.
        where: the key of its section.
        returns: layers whose outputs it gives besides its own.
    """

    name: str
    arch: Arch
    frozen: bool
    where: str
    returns: tuple[str, ...] = ()


class Together(Options):
    """Several networks that are trained together.

    Attributes:
        student: the name of the one that is deployed.
        networks: all of them, in the order in which they are listed.
        unread: keys of the file that no network reads.
    """

    student: str
    networks: tuple[Network, ...]
    unread: tuple[str, ...] = ()


Arch.model_rebuild()


class Amp(Options):
    """Automatic mixed precision, used where the device has float16 arithmetic.

    Attributes:
        use_fp16_test: without effect; evaluation computes in float32.
        use_promote: level O2 computes in float32 what has a float32 input; level O1 knows no such choice.
    """

    use_amp: bool = True
    scale_loss: Positive = 65536.0
    use_dynamic_loss_scaling: bool = True
    level: Literal["O1", "O2"] = "O1"
    dtype: Literal["float16", "bfloat16"] = "float16"
    use_fp16_test: bool = False
    use_promote: bool | None = None


class Loss(Options):
    """Lists of losses that are added up, for training and for evaluation.

    Attributes:
        Basic: what the weights learn from with `Global.train_mode: metabin`, in the place of `Train`.
        MetaTrain: what the gates are moved by for a moment there.
        MetaTest: what the gates learn from there, from where they were moved to.
    """

    example: ClassVar[str] = "{Train: [{CELoss: {weight: 1.0}}]}"

    Train: tuple[listed(LOSSES), ...] = Field(min_length=1)
    Eval: tuple[listed(LOSSES), ...] = Field(default=(CELoss(),), min_length=1)
    Basic: tuple[listed(LOSSES), ...] | None = Field(default=None, min_length=1)
    MetaTrain: tuple[listed(LOSSES), ...] | None = Field(default=None, min_length=1)
    MetaTest: tuple[listed(LOSSES), ...] | None = Field(default=None, min_length=1)

    @property
    def lists(self) -> dict[str, tuple[Any, ...]]:
        """Those that are given, by key."""
        found = {key: getattr(self, key) for key in type(self).model_fields}
        return {key: entries for key, entries in found.items() if entries is not None}


class Metric(Options):
    """Lists of metrics; the first of `Eval` chooses the best checkpoint."""

    example: ClassVar[str] = "{Eval: [{TopkAcc: {topk: [1, 5]}}]}"

    Train: tuple[listed(METRICS), ...] | None = None
    Eval: tuple[listed(METRICS), ...] = Field(default=(TopkAcc(),), min_length=1)


class Distill(Options):
    """Learning from a dense teacher.

    Attributes:
        teacher: path of the teacher's weights, with or without `.pdparams`.
        arch: the teacher's backbone; None means `Arch` itself, dense.
        weight: share of the distillation loss; the rest is the ordinary loss.
        temperature: softens both distributions.
    """

    example: ClassVar[str] = "{teacher: output/ResNet50/best_model}"

    teacher: str
    arch: str | None = None
    weight: Annotated[Number, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 4.0
