import paddle
from support.training import tiny_network, tiny_trainer

from ppcls_compress.engine.hooks import shared_statistics
from ppcls_compress.engine.hooks.shared_statistics import SharedStatistics
from ppcls_compress.losses import build_loss
from ppcls_compress.losses.distilled_logits import DistillationGTCELoss
from ppcls_compress.models.together import DistillationModel
from ppcls_compress.slim.quant.quantizers.base import WindowRange


def merged(monkeypatch, build, loss=None):
    """The names of what is brought together after a step, as means and as largest values."""
    found = {False: [], True: []}
    monkeypatch.setattr(shared_statistics, "merge", lambda tensors, *, largest: found[largest].append(tensors))
    trainer = tiny_trainer(epochs=1, batches=1, hooks=[SharedStatistics()], build=build)
    trainer.loss = loss or trainer.loss
    trainer.run()
    names = {id(tensor): name for name, tensor in trainer.model.state_dict().items()}
    return [[names[id(tensor)] for tensor in found[largest][0]] for largest in (False, True)]


def test_statistics_are_means_and_windows_largest_values(monkeypatch):
    def build():
        return paddle.nn.Sequential(WindowRange("input", 8, 3), *tiny_network())

    assert merged(monkeypatch, build) == [["2._mean", "2._variance"], ["0._scale", "0._window"]]


def test_a_frozen_network_is_left_alone(monkeypatch):
    def build():
        networks = {"Teacher": tiny_network(), "Student": tiny_network()}
        return DistillationModel(networks, student="Student", frozen=["Teacher"])

    loss = build_loss([DistillationGTCELoss(model_names=("Student",))])
    assert merged(monkeypatch, build, loss) == [["Student.1._mean", "Student.1._variance"], []]
