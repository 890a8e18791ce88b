"""Distillation of features by attention (Ji et al. 2021, arXiv:2102.02973): what is compared with what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ppcls_compress.declare import Count
from ppcls_compress.errors import UserError
from ppcls_compress.losses.base import LOSSES, LossFunction
from ppcls_compress.losses.networks import NetworkLoss, Pair, taken
from ppcls_compress.outputs import Output

if TYPE_CHECKING:
    import paddle

Shape = tuple[Count, Count, Count]
"""(C, H, W) of a feature map."""


@LOSSES.declare
class AFDLoss(NetworkLoss):
    """For each map of the teacher, the student's maps compared with it, weighed by attention (eq. 1 to 5).

    PaddleClas puts what makes queries, keys and values into networks around the two, an `AttentionModel` each; here
    they are the loss's own, and such a network stands for the one within it.

    Attributes:
        model_name_pair: the student and the teacher.
        s_shapes: of the student's maps.
        t_shapes: of the teacher's.
        student_features: names of the student's maps, among its `return_patterns`; one for each shape.
        teacher_features: of the teacher's.
        qk_dim: size of queries and keys.
        student_keys: PaddleClas' names of what the student's `AttentionModel` gives.
        teacher_keys: of what the teacher's gives.
        name: what the term is called.
    """

    model_name_pair: Pair = ("Student", "Teacher")
    s_shapes: Annotated[tuple[Shape, ...], Field(min_length=1)]
    t_shapes: Annotated[tuple[Shape, ...], Field(min_length=1)]
    student_features: tuple[str, ...]
    teacher_features: tuple[str, ...]
    qk_dim: Count = 128
    student_keys: tuple[Literal["bilinear_key"], Literal["value"]] = ("bilinear_key", "value")
    teacher_keys: tuple[Literal["query"], Literal["value"]] = ("query", "value")
    name: str = "loss_afd"

    @model_validator(mode="after")
    def _a_shape_for_each(self) -> AFDLoss:
        for who, key in (("student", "s_shapes"), ("teacher", "t_shapes")):
            features, shapes = getattr(self, f"{who}_features"), getattr(self, key)
            if len(features) != len(shapes):
                raise ValueError(f"{key} has {len(shapes)} shapes, for {len(features)} maps of the {who}")
        return self

    @property
    def networks(self) -> tuple[str, ...]:
        """The student and the teacher."""
        return self.model_name_pair

    def counts_on(self, network: str) -> tuple[str, ...]:
        """All maps, which have the shapes that are given."""
        features = zip(self.model_name_pair, (self.student_features, self.teacher_features), strict=True)
        return tuple(name for owner, names in features for name in names if owner == network)

    def build(self) -> LossFunction:
        """A layer with a term; refuses maps of other shapes by a UserError."""
        from ppcls_compress.losses.attending import AttentionTransfer

        def maps(output: Output) -> tuple[list[paddle.Tensor], list[paddle.Tensor]]:
            student, teacher = self.model_name_pair
            return (
                _maps(output, student, self.student_features, self.s_shapes, "s_shapes"),
                _maps(output, teacher, self.teacher_features, self.t_shapes, "t_shapes"),
            )

        channels = ([shape[0] for shape in shapes] for shapes in (self.s_shapes, self.t_shapes))
        return AttentionTransfer(maps, *channels, size=self.qk_dim, name=self.name)


def _maps(
    output: Output, network: str, features: Sequence[str], shapes: Sequence[Shape], key: str
) -> list[paddle.Tensor]:
    found = [taken(output, network, name) for name in features]
    for name, feature_map, shape in zip(features, found, shapes, strict=True):
        if tuple(feature_map.shape[1:]) != shape:
            raise UserError(
                f"AFDLoss.{key}: {network} gives {list(feature_map.shape[1:])} as {name}, and {list(shape)} is expected"
            )
    return found
