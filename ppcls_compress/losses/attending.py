"""The layers of `attention.AFDLoss`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppcls_compress.outputs import Output

Maps = Callable[[Output], tuple[list[Tensor], list[Tensor]]]
"""The output of all networks to the student's feature maps and the teacher's, [N, C, H, W] each."""


class AttentionTransfer(nn.Layer):
    """The sum over the teacher's maps of how far the student's are from it, weighed by an attention over these.

    What of a map is compared is its energy at each place, the mean square over channels, of a length of one over the
    image; the student's is averaged to the teacher's size. Keys and queries come from means over the image.
    """

    def __init__(self, maps: Maps, students: Sequence[int], teachers: Sequence[int], *, size: int, name: str) -> None:
        """With random weights.

        Args:
            maps: what is compared.
            students: channels of each of the student's maps.
            teachers: of the teacher's.
            size: of queries and keys.
            name: what the term is called.
        """
        super().__init__()
        self._maps, self._size, self._name = maps, size, name
        self.query_layer = nn.LayerList([_linear(channels, size) for channels in teachers])
        self.key_layer = nn.LayerList([_linear(channels, size) for channels in students])
        self.bilinear = _linear(size, size * len(teachers))
        xavier = nn.initializer.XavierNormal()
        self.p_t = self.create_parameter([len(teachers), size], default_initializer=xavier)
        self.p_s = self.create_parameter([len(students), size], default_initializer=xavier)

    def forward(self, output: Output, labels: Tensor, images: Tensor | None) -> dict[str, Tensor]:
        """A scalar by its name."""
        given, wanted = self._maps(output)
        attention = self._attention(given, wanted)
        terms = []
        for index, target in enumerate(wanted):
            energy = F.normalize(_energy(target), axis=1)
            energies = paddle.stack([_energy(own, target.shape[2:]) for own in given], axis=1)
            apart = ((F.normalize(energies, axis=2) - energy.unsqueeze(1)) ** 2).mean(2)
            terms.append((apart * attention[:, index]).sum(1).mean())
        return {self._name: sum(terms)}

    def _attention(self, given: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """How much each of the student's maps counts for each of the teacher's, [N, teacher's, student's]."""
        size, batch = self._size, wanted[0].shape[0]
        queries = [layer(x.mean([2, 3])) for layer, x in zip(self.query_layer, wanted, strict=True)]
        keys = [F.relu(layer(x.mean([2, 3]))) for layer, x in zip(self.key_layer, given, strict=True)]
        rows = self.bilinear(paddle.stack(keys, axis=1).reshape([-1, size]))
        rows = rows.reshape([batch, len(given), len(wanted), size])
        fit = paddle.einsum("bstq,btq->bts", rows, paddle.stack(queries, axis=1))
        return F.softmax((fit + self.p_t @ self.p_s.t()) / size**0.5, axis=2)


def _linear(inputs: int, outputs: int) -> nn.Layer:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1D(outputs))


def _energy(feature_map: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """[N, C, H, W] -> [N, H * W], averaged to a size first where one is given."""
    energy = (feature_map**2).mean(1, keepdim=True)
    return (energy if size is None else F.adaptive_avg_pool2d(energy, size)).flatten(1)
