"""Losses between feature maps that learn weights of their own; what `distilled_features` builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppcls_compress.errors import UserError
from ppcls_compress.outputs import Output

Pairs = Callable[[Output], Mapping[str, tuple[Tensor, Tensor]]]
"""The output of all networks to the feature maps that are compared, by the name of the term."""


class BetweenFeatures(nn.Layer):
    """A loss of two feature maps, as a loss of the outputs of networks."""

    def __init__(self, loss: nn.Layer, pairs: Pairs) -> None:
        super().__init__()
        self.loss = loss
        self._pairs = pairs

    def forward(self, output: Output, labels: Tensor, images: Tensor | None) -> dict[str, Tensor]:
        """A scalar for each pair of networks.

        Raises:
            UserError: two feature maps are not of the same height and width.
        """
        terms = {}
        for name, (student, teacher) in self._pairs(output).items():
            if student.ndim != 4 or student.shape[2:] != teacher.shape[2:]:
                raise UserError(
                    f"{name}: compares feature maps of the same size, and got {list(student.shape)} and "
                    f"{list(teacher.shape)}; choose other outputs with s_key and t_key"
                )
            terms[name] = self.loss(student, teacher.detach())
        return terms


class ProjectorEnsemble(nn.Layer):
    """1 - the cosine of the teacher's features and the mean of several projections of the student's."""

    def __init__(self, student_channel: int, teacher_channel: int, num_projectors: int) -> None:
        super().__init__()
        self.projectors = nn.LayerList([nn.Conv2D(student_channel, teacher_channel, 1) for _ in range(num_projectors)])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Feature maps [N, C, H, W] to a scalar."""
        mean = sum(F.relu(project(student)) for project in self.projectors) / len(self.projectors)
        mean, teacher = mean.flatten(1), teacher.flatten(1)
        norms = mean.norm(axis=1) * teacher.norm(axis=1)
        return (1 - (mean * teacher).sum(axis=1) / norms.clip(min=1e-12)).mean()


class MaskedGeneration(nn.Layer):
    """The mean squared difference of the teacher's features and what is generated of the student's masked ones."""

    def __init__(self, student_channels: int, teacher_channels: int, alpha: float, masked: float) -> None:
        super().__init__()
        self.align = nn.Conv2D(student_channels, teacher_channels, 1) if student_channels != teacher_channels else None
        self.generation = nn.Sequential(
            nn.Conv2D(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2D(teacher_channels, teacher_channels, 3, padding=1),
        )
        self._alpha, self._masked = alpha, masked

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Feature maps [N, C, H, W] to a scalar; which channels are masked is drawn for each sample."""
        if self.align is not None:
            student = self.align(student)
        kept = (paddle.rand([*teacher.shape[:2], 1, 1]) >= self._masked).astype(student.dtype)
        return F.mse_loss(self.generation(student * kept), teacher) * self._alpha
