"""Losses of features between networks that learn from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from ppcls_compress.declare import Count, Fraction, Options, Positive
from ppcls_compress.declare.entries import Declarations
from ppcls_compress.errors import unknown
from ppcls_compress.losses.base import LOSSES, LossFunction
from ppcls_compress.losses.networks import PairLoss, PairsLoss, taken
from ppcls_compress.outputs import Output

if TYPE_CHECKING:
    import paddle


@LOSSES.declare
class DistillationDistanceLoss(PairLoss):
    """The distance of two outputs.

    Attributes:
        mode: mean of absolute (`l1`) or squared (`l2`) differences, or of Huber's with delta 1 (`smooth_l1`).
        act: what logits go through before.
        reduction: over all numbers.
    """

    mode: Literal["l1", "l2", "smooth_l1"] = "l2"
    act: Literal["sigmoid", "softmax"] | None = None
    reduction: Literal["mean", "sum"] = "mean"

    def build(self) -> LossFunction:
        """A term for each pair."""
        import paddle.nn.functional as F

        act = {"sigmoid": F.sigmoid, "softmax": F.softmax, None: lambda values: values}[self.act]
        distance = {"l1": F.l1_loss, "l2": F.mse_loss, "smooth_l1": F.smooth_l1_loss}[self.mode]
        return self.each(
            f"loss_{self.mode}",
            lambda first, second, labels: distance(act(first), act(second), reduction=self.reduction),
            numbered=True,
        )


@LOSSES.declare
class DistillationRKDLoss(PairsLoss):
    """Relational knowledge distillation (Park et al. 2019, arXiv:1904.05068, eq. 4 to 8): distances and angles.

    Attributes:
        target_size: size that feature maps are averaged to before; null leaves them.
        student_keepkeys: outputs of the first network, each compared with that of `teacher_keepkeys` beside it.
    """

    target_size: Count | tuple[Count, Count] | None = None
    student_keepkeys: Annotated[tuple[str, ...], Field(min_length=1)]
    teacher_keepkeys: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _as_many(self) -> DistillationRKDLoss:
        if len(self.student_keepkeys) != len(self.teacher_keepkeys):
            raise ValueError("student_keepkeys and teacher_keepkeys must be as many")
        return self

    def build(self) -> LossFunction:
        """Two terms for each pair and key."""

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> dict[str, paddle.Tensor]:
            terms = {}
            for first, second in self.model_name_pairs:
                for index, keys in enumerate(zip(self.student_keepkeys, self.teacher_keepkeys, strict=True)):
                    rows = [self._rows(taken(output, *one)) for one in zip((first, second), keys, strict=True)]
                    terms[f"loss_angle_{index}_{first}_{second}"] = _compared(_angles, *rows)
                    terms[f"loss_dist_{index}_{first}_{second}"] = _compared(_distances, *rows)
            return terms

        return loss

    def _rows(self, features: paddle.Tensor) -> paddle.Tensor:
        import paddle.nn.functional as F

        if self.target_size is not None and features.ndim == 4:
            features = F.adaptive_avg_pool2d(features, self.target_size)
        return features.flatten(1)


def _compared(relation: Any, first: paddle.Tensor, second: paddle.Tensor) -> paddle.Tensor:
    import paddle.nn.functional as F

    return F.smooth_l1_loss(relation(first), relation(second).detach())


def _angles(rows: paddle.Tensor) -> paddle.Tensor:
    """The cosine of the angle at sample i between samples j and k, [N, N, N]."""
    import paddle
    import paddle.nn.functional as F

    directions = F.normalize(rows.unsqueeze(0) - rows.unsqueeze(1), axis=2)
    return paddle.bmm(directions, directions.transpose([0, 2, 1]))


def _distances(rows: paddle.Tensor) -> paddle.Tensor:
    """Of all pairs of samples, [N, N], in units of their mean."""
    squares = (rows**2).sum(axis=1)
    distances = (squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * rows @ rows.t()).clip(min=1e-12).sqrt()
    return distances / (distances.mean() + 1e-12)


class FeatureLoss(Options):
    """What `DistillationPairLoss.base_loss_name` names: a loss between two feature maps [N, C, H, W], with weights."""

    def build(self) -> paddle.nn.Layer:
        """A layer of the student's and the teacher's feature map."""
        raise TypeError(f"{type(self).__name__} has no build of its own")


FEATURE_LOSSES: Declarations[FeatureLoss] = Declarations("loss between features")


@FEATURE_LOSSES.declare
class PEFDLoss(FeatureLoss):
    """1 - the cosine of projected and of the teacher's features (Chen et al. 2022, arXiv:2210.15274, eq. 4)."""

    student_channel: Count
    teacher_channel: Count
    num_projectors: Count = 3

    def build(self) -> paddle.nn.Layer:
        """With 1 x 1 convolutions, whose mean is compared."""
        from ppcls_compress.losses.projections import ProjectorEnsemble

        return ProjectorEnsemble(self.student_channel, self.teacher_channel, self.num_projectors)


@FEATURE_LOSSES.declare
class MGDLoss(FeatureLoss):
    """Masked generative distillation (Yang et al. 2022, arXiv:2205.01529, eq. 5).

    Attributes:
        alpha_mgd: factor of the squared differences.
        lambda_mgd: share of channels that are masked.
    """

    student_channels: Count
    teacher_channels: Count
    alpha_mgd: Positive = 1.756
    lambda_mgd: Fraction = 0.15

    def build(self) -> paddle.nn.Layer:
        """With two convolutions that make the teacher's features of the student's masked ones."""
        from ppcls_compress.losses.projections import MaskedGeneration

        return MaskedGeneration(self.student_channels, self.teacher_channels, self.alpha_mgd, self.lambda_mgd)


@LOSSES.declare
class DistillationPairLoss(PairsLoss):
    """A loss between features of the networks of each pair, which learns weights of its own.

    Options beyond these are those of the loss that `base_loss_name` names.

    Attributes:
        base_loss_name: that loss.
        s_key: which tensor of the first network's output; None for its logits.
        t_key: of the second's.
        name: what the terms are called.
    """

    model_config = PairsLoss.model_config | {"extra": "allow"}

    base_loss_name: str
    s_key: str | None = None
    t_key: str | None = None
    name: str = "loss"

    @model_validator(mode="before")
    @classmethod
    def _known_base(cls, data: Any) -> Any:
        name = data.get("base_loss_name") if isinstance(data, dict) else None
        if name is not None and name not in FEATURE_LOSSES:
            raise ValueError(unknown(FEATURE_LOSSES.kind, name, FEATURE_LOSSES))
        return data

    @model_validator(mode="after")
    def _base_options(self) -> DistillationPairLoss:
        _ = self.base  # refuses unknown and missing options
        return self

    def counts_on(self, network: str) -> tuple[str | None, ...]:
        """The features that the learnt weights are made for."""
        keys = ((pair, (self.s_key, self.t_key)) for pair in self.model_name_pairs)
        return tuple(key for pair, both in keys for name, key in zip(pair, both, strict=True) if name == network)

    @property
    def base(self) -> FeatureLoss:
        """The options of the loss between two feature maps."""
        return FEATURE_LOSSES.get(self.base_loss_name).model_validate(self.model_extra or {})

    def build(self) -> LossFunction:
        """A layer, with a term for each pair."""
        from ppcls_compress.losses.projections import BetweenFeatures

        def pairs(output: Output) -> dict[str, tuple[paddle.Tensor, paddle.Tensor]]:
            return {
                f"{self.name}_{first}_{second}_{index}": (
                    taken(output, first, self.s_key),
                    taken(output, second, self.t_key),
                )
                for index, (first, second) in enumerate(self.model_name_pairs)
            }

        return BetweenFeatures(self.base.build(), pairs)
