"""Losses of logits between networks that learn from each other, and of each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ppcls_compress.declare import NonNegative, Number, Positive
from ppcls_compress.losses.base import LOSSES, LossFunction
from ppcls_compress.losses.cross_entropy import CELoss, cross_entropy
from ppcls_compress.losses.distillation import distillation
from ppcls_compress.losses.multilabel import MultiLabelLoss, balance
from ppcls_compress.losses.networks import EachNetworkLoss, PairLoss
from ppcls_compress.outputs import UNKNOWN, attributes, identities

if TYPE_CHECKING:
    import paddle

_TINY = 1e-12


@LOSSES.declare
class DistillationGTCELoss(EachNetworkLoss):
    """Cross-entropy of each network with the labels.

    Attributes:
        epsilon: as of CELoss.
    """

    epsilon: Annotated[Number, Field(ge=0, lt=1)] | None = None

    def build(self) -> LossFunction:
        """As CELoss, a term for each network."""
        return self.each("CELoss", CELoss(epsilon=self.epsilon).build())


@LOSSES.declare
class DistillationMultiLabelLoss(EachNetworkLoss):
    """The loss of several labels, of each network.

    Attributes:
        epsilon: as of MultiLabelLoss, like the others.
    """

    labels: ClassVar[str] = "attributes"

    epsilon: Annotated[Number, Field(ge=0, lt=1)] | None = None
    size_sum: bool = False
    weight_ratio: bool = False

    def build(self) -> LossFunction:
        """As MultiLabelLoss, a term for each network."""
        own = MultiLabelLoss(epsilon=self.epsilon, size_sum=self.size_sum, weight_ratio=self.weight_ratio)
        return self.each("MultiLabelLoss", own.build())


@LOSSES.declare
class DistillationCELoss(PairLoss):
    """Cross-entropy of the first network with the probabilities of the second.

    Attributes:
        epsilon: smooths those probabilities.
    """

    epsilon: Annotated[Number, Field(ge=0, lt=1)] | None = None

    def build(self) -> LossFunction:
        """A term for each pair."""
        import paddle.nn.functional as F

        return self.each(
            "CELoss", lambda first, second, labels: cross_entropy(first, F.softmax(second), epsilon=self.epsilon)
        )


@LOSSES.declare
class DistillationKLDivLoss(PairLoss):
    """T^2 KL(second || first) of probabilities at a temperature T (Hinton et al. 2015)."""

    temperature: Positive = 4.0

    def build(self) -> LossFunction:
        """A term for each pair."""
        return self.each("loss_kldiv", lambda first, second, labels: distillation(first, second, self.temperature))


@LOSSES.declare
class DistillationDMLLoss(PairLoss):
    """Deep mutual learning (Zhang et al. 2018): half of KL(first || second) + KL(second || first).

    Both networks learn from it, unless one is frozen.

    Attributes:
        act: what makes probabilities of logits; null where the outputs are probabilities already.
        weight_ratio: for several labels each: weigh each as MultiLabelLoss does.
        sum_across_class_dim: add up C times the terms of an image's C labels, in place of their mean.
    """

    act: Literal["softmax", "sigmoid"] | None = "softmax"
    weight_ratio: bool = False
    sum_across_class_dim: bool = False

    def build(self) -> LossFunction:
        """A term for each pair."""
        return self.each("DMLLoss", self._mutual, numbered=True)

    def _mutual(self, first: paddle.Tensor, second: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        import paddle.nn.functional as F

        act = {"softmax": F.softmax, "sigmoid": F.sigmoid, None: lambda logits: logits}[self.act]
        p, q = act(first), act(second)
        ratio = ((p + _TINY) / (q + _TINY)).log()
        cost = (p - q) * ratio * (p.shape[-1] / 2)  # p log(p / q) + q log(q / p)
        if self.weight_ratio:
            known, shares = attributes(labels)
            cost = cost * balance(known, shares) * (known > UNKNOWN).astype(cost.dtype)
        return cost.sum(axis=1).mean() if self.sum_across_class_dim else cost.mean()


@LOSSES.declare
class DistillationDKDLoss(PairLoss):
    """Decoupled knowledge distillation (Zhao et al. 2022, arXiv:2203.08679, eq. 7).

    Attributes:
        temperature: T of both parts, which count T^2.
        alpha: weight of the divergence of the label's probability from all others' together.
        beta: weight of the divergence among the other classes.
        use_target_as_gt: take the class that the second network finds likeliest for the label.
    """

    temperature: Positive = 1.0
    alpha: NonNegative = 1.0
    beta: NonNegative = 1.0
    use_target_as_gt: bool = False

    def build(self) -> LossFunction:
        """A term for each pair."""
        return self.each("loss_dkd", self._decoupled)

    def _decoupled(self, first: paddle.Tensor, second: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        import paddle.nn.functional as F

        label = second.argmax(axis=-1) if self.use_target_as_gt else identities(labels)
        is_label = F.one_hot(label, first.shape[-1])
        both = []
        for logits in (first / self.temperature, second / self.temperature):
            probability = F.softmax(logits)
            own = (probability * is_label).sum(axis=1, keepdim=True)
            rest = (probability * (1 - is_label)).sum(axis=1, keepdim=True)
            both.append(((own.clip(min=_TINY), rest.clip(min=_TINY)), F.log_softmax(logits - 1000.0 * is_label)))
        (first_two, first_others), (second_two, second_others) = both
        of_label = sum(q * (q.log() - p.log()) for p, q in zip(first_two, second_two, strict=True)).mean()
        among = (second_others.exp() * (second_others - first_others)).sum(axis=1).mean()
        return (self.alpha * of_label + self.beta * among) * self.temperature**2


@LOSSES.declare
class DistillationDISTLoss(PairLoss):
    """1 - Pearson's correlation of probabilities (Huang et al. 2022, arXiv:2205.10536, eq. 6 to 10).

    Attributes:
        beta: weight of the correlation over the classes of each sample.
        gamma: weight of the correlation over the samples of each class.
    """

    beta: NonNegative = 1.0
    gamma: NonNegative = 1.0

    def build(self) -> LossFunction:
        """A term for each pair."""
        import paddle.nn.functional as F

        def apart(first: paddle.Tensor, second: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
            p, q = F.softmax(first), F.softmax(second)
            return self.beta * _uncorrelated(p, q) + self.gamma * _uncorrelated(p.t(), q.t())

        return self.each("loss_dist", apart)


def _uncorrelated(p: paddle.Tensor, q: paddle.Tensor) -> paddle.Tensor:
    """1 - the mean correlation of rows."""
    p, q = (values - values.mean(axis=1, keepdim=True) for values in (p, q))
    return 1 - ((p * q).sum(axis=1) / (p.norm(axis=1) * q.norm(axis=1) + 1e-8)).mean()


@LOSSES.declare
class DistillationSKDLoss(PairLoss):
    """Spherical knowledge distillation (Guo et al. 2020, arXiv:2010.07485): of logits of mean 0 and one deviation.

    Attributes:
        temperature: T of the part that learns from the second network, which counts T^2.
        multiplier: the deviation of the logits.
        alpha: weight of that part; the rest is the cross-entropy with the labels.
        use_target_as_gt: take the class that the second network finds likeliest for the label.
    """

    temperature: Positive = 1.0
    multiplier: Positive = 2.0
    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.9
    use_target_as_gt: bool = False

    def build(self) -> LossFunction:
        """A term for each pair."""
        return self.each("loss_skd", self._spherical)

    def _spherical(self, first: paddle.Tensor, second: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        import paddle.nn.functional as F

        label = second.argmax(axis=-1) if self.use_target_as_gt else identities(labels)
        first, second = (
            F.layer_norm(logits, logits.shape[1:], epsilon=1e-7) * self.multiplier for logits in (first, second)
        )
        learned = cross_entropy(first / self.temperature, F.softmax(second / self.temperature)) * self.temperature**2
        return self.alpha * learned + (1 - self.alpha) * cross_entropy(first, label)


@LOSSES.declare
class DistillationWSLLoss(PairLoss):
    """Weighted soft labels (Zhou et al. 2021, arXiv:2102.00650, eq. 9 and 10).

    A sample counts 1 - exp(-L1 / L2), with the cross-entropies of the first and the second network with its label: the
    less, the easier the first finds it in comparison.

    Attributes:
        temperature: T of the soft labels; the loss counts T^2.
        use_target_as_gt: take the class that the second network finds likeliest for the label.
    """

    temperature: Positive = 2.0
    use_target_as_gt: bool = False

    def build(self) -> LossFunction:
        """A term for each pair."""
        return self.each("loss_wsl", self._weighted)

    def _weighted(self, first: paddle.Tensor, second: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        import paddle.nn.functional as F

        label = second.argmax(axis=-1) if self.use_target_as_gt else identities(labels)
        hard, easy = (F.cross_entropy(logits.detach(), label, reduction="none").flatten() for logits in (first, second))
        soft = F.softmax(second / self.temperature)
        learned = -(soft * F.log_softmax(first / self.temperature)).sum(axis=1)
        return (learned * (1 - (-hard / (easy + 1e-7)).exp())).mean() * self.temperature**2
