from types import SimpleNamespace

from support.project import make_project

from ppcls_compress.config.load import load_config
from ppcls_compress.deploy.measure.layers import Table, Times
from ppcls_compress.search import judge, shares


def config(tmp_path):
    return load_config(make_project(tmp_path), ["Slim.auto={max_drop: 1, target: {latency: 0.5}}"])


def test_what_integers_reach_is_told_by_the_faster_of_their_placements(tmp_path, monkeypatch):
    found, written = config(tmp_path), []

    def cost(config, options, dense):
        written.append(options)
        skipped = options.quant.skip if options.quant else None
        return judge.Costs(1, 1, 1, {None: 0.9, (): 1.2, ("fc",): 0.6}[skipped])

    monkeypatch.setattr(shares, "file_costs", cost)
    monkeypatch.setattr(judge, "costs", lambda *_, **__: judge.Costs(1, 1, 1))
    for name, slow, count, integers in (("a", (), 8, 1.2), ("b", ("fc",), 12, 0.6)):
        written.clear()
        for _ in range(2):  # what the file holds is not measured again
            anchors = shares.measured(found, "latency", tmp_path, tmp_path / f"{name}.json", slow)
        assert {(each.integers, each.cost) for each in anchors} == {(False, 0.9), (True, integers)}
        assert (len(anchors), len(written)) == (8, count)


class Always(Table):
    """Times of layers of any shape, the classifier's slow with integers."""

    def times(self, layer):
        return Times(1.0, 50.0 if layer.name == "fc" else 0.1, 0.0)


def test_the_same_by_a_profile(tmp_path, monkeypatch):
    found = config(tmp_path)
    layers = [SimpleNamespace(name=name) for name in ("stem", "conv", "fc")]
    monkeypatch.setattr(shares, "rehearsed", lambda *_: (None, None))
    monkeypatch.setattr(shares, "layers_of", lambda *_: layers)
    for slow, integers in (((), 50.2 / 3), (("fc",), 1.2 / 3)):
        anchors = shares.predicted(found, Always({}, {}), slow)
        assert [round(each.cost, 6) for each in anchors if not each.integers] == [1.0] * 4
        assert [round(each.cost, 6) for each in anchors if each.integers] == [round(integers, 6)] * 4
