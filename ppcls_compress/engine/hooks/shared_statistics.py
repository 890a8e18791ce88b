"""One network in all processes: what it has observed, too."""

from __future__ import annotations

from ppcls_compress.engine.distributed import merge
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.training import Training


class SharedStatistics(Hook):
    """Brings the processes' statistics together after each optimizer step; listed before what evaluates and saves.

    Gradients are averaged and parameters equal, but each process sees images of its own: the running mean and variance
    of batch norms and the ranges that quantizers observe would differ, and what is evaluated would not be what is
    saved. Averages become the mean over the processes, largest values the largest.
    """

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Merge, where the batch was the last of a step."""
        if trainer.progress.batch != batch.index + 1:
            return
        # A frozen network, a teacher, is in evaluation mode and observes nothing, however large it is.
        layers = [layer for layer in trainer.model.sublayers(include_self=True) if layer.training]
        largest = {
            id(tensor)
            for layer in layers
            if getattr(type(layer), "observes", "averages") == "largest values"
            for tensor in layer.buffers(include_sublayers=False)
        }
        # Paddle keeps a batch norm's statistics as parameters that are not trained.
        own = [layer.parameters(include_sublayers=False) + layer.buffers(include_sublayers=False) for layer in layers]
        following = {id(tensor) for tensors in own for tensor in tensors if tensor.stop_gradient}
        state = trainer.model.state_dict().values()
        observed = [tensor for tensor in state if id(tensor) in following and tensor.is_floating_point()]
        merge([tensor for tensor in observed if id(tensor) not in largest], largest=False)
        merge([tensor for tensor in observed if id(tensor) in largest], largest=True)
