import pytest
from support.doubting import configured

from ppcls_compress.engine.doubts.start import about_pruning

PRUNED = "Slim.prune={name: fpgm, pruned_ratio: 0.3}"


def test_pruning_by_random_weights_is_told(tmp_path):
    (line,) = about_pruning(configured(tmp_path, PRUNED))
    assert line.startswith("Slim.prune: filters are chosen by random weights")


@pytest.mark.parametrize(
    "overrides",
    [
        ["Slim=null"],
        [PRUNED, "Global.pretrained_model={file}"],
        [PRUNED, "Global.checkpoints={file}"],
        [PRUNED, "Arch.pretrained={file}"],
    ],
)
def test_pruning_of_trained_weights_and_none_at_all_are_no_doubt(tmp_path, overrides):
    (tmp_path / "dense.pdparams").write_bytes(b"")
    given = [line.replace("{file}", str(tmp_path / "dense")) for line in overrides]
    assert list(about_pruning(configured(tmp_path, *given))) == []
