"""Knowledge distillation: the compressed network learns from the probabilities of a dense one."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F


def distillation(logits: paddle.Tensor, teacher_logits: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), the mean over samples (Hinton et al. 2015, section 2).

    The factor T^2 keeps the size of the gradient independent of the temperature T.

    Args:
        logits: of the student, [N, C].
        teacher_logits: [N, C].
        temperature: T; above 1 it shows the teacher's second thoughts.
    """
    target = F.softmax(teacher_logits / temperature)
    divergence = F.kl_div(F.log_softmax(logits / temperature), target, reduction="batchmean")
    return divergence * temperature**2


def with_teacher(
    loss: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor],
    teacher: Callable[[paddle.Tensor], paddle.Tensor],
    *,
    weight: float,
    temperature: float,
) -> Callable[[paddle.Tensor, paddle.Tensor, paddle.Tensor], paddle.Tensor]:
    """(1 - weight) * loss + weight * distillation, as a function of logits, labels and images."""

    def total(logits: paddle.Tensor, labels: paddle.Tensor, images: paddle.Tensor) -> paddle.Tensor:
        with paddle.no_grad():
            teacher_logits = teacher(images)
        own = loss(logits, labels) if weight < 1 else 0.0
        return (1 - weight) * own + weight * distillation(logits, teacher_logits, temperature)

    return total
