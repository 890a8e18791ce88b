"""Knowledge distillation: the compressed network learns from the probabilities of a dense one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ppcls_compress.losses.base import Term, TotalLoss
from ppcls_compress.outputs import Output, logits_of

if TYPE_CHECKING:
    import paddle


def distillation(logits: paddle.Tensor, teacher_logits: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), the mean over samples (Hinton et al. 2015, section 2).

    The factor T^2 keeps the size of the gradient independent of the temperature T.

    Args:
        logits: of the student, [N, C].
        teacher_logits: [N, C].
        temperature: T; above 1 it shows the teacher's second thoughts.
    """
    import paddle.nn.functional as F

    target = F.softmax(teacher_logits / temperature)
    divergence = F.kl_div(F.log_softmax(logits / temperature), target, reduction="batchmean")
    return divergence * temperature**2


def label_distillation(logits: paddle.Tensor, teacher_logits: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """The same of images with several labels: the sum over labels of T^2 * KL of their two-way distributions.

    A label is there with the probability sigmoid(logit / T).

    Args:
        logits: of the student, [N, C].
        teacher_logits: [N, C].
        temperature: T.
    """
    import paddle.nn.functional as F

    student, teacher = logits / temperature, teacher_logits / temperature
    there, absent = F.sigmoid(teacher), F.sigmoid(-teacher)
    divergence = there * (F.log_sigmoid(teacher) - F.log_sigmoid(student))
    divergence = divergence + absent * (F.log_sigmoid(-teacher) - F.log_sigmoid(-student))
    return divergence.sum(axis=1).mean() * temperature**2


def with_teacher(
    loss: TotalLoss,
    teacher: Callable[[paddle.Tensor], Output],
    *,
    weight: float,
    temperature: float,
    multilabel: bool = False,
) -> TotalLoss:
    """(1 - weight) * loss + weight * distillation.

    Args:
        loss: of the labels.
        teacher: images to its output.
        weight: share of the distillation.
        temperature: of the distillation.
        multilabel: whether an image has several labels, and not one class.
    """
    import paddle

    learn = label_distillation if multilabel else distillation

    def learned(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> paddle.Tensor:
        with paddle.no_grad():
            teacher_logits = logits_of(teacher(images))
        return learn(logits_of(output), teacher_logits, temperature)

    own = [replace(term, weight=(1 - weight) * term.weight) for term in loss.terms] if weight < 1 else []
    return TotalLoss([*own, Term("distillation", weight, learned)])
