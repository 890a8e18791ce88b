"""Every committed configuration of compression is read, and some of each kind are rehearsed on small images."""

from pathlib import Path

import pytest
from support.processes import PATIENCE

from ppcls_compress.commands import dry_run  # noqa: F401  Paddle is loaded before processes fork
from ppcls_compress.commands.many import outcomes, read

ROOT = Path(__file__).resolve().parents[2] / "configs" / "slim"
PULC = (
    "car_exists", "clarity_assessment", "code_exists", "language_classification", "person_attribute", "person_exists",
    "safety_helmet", "table_attribute", "text_image_orientation", "textline_orientation", "traffic_sign",
    "vehicle_attribute",
)  # fmt: skip


def test_there_is_one_for_each_task_and_each_writes_to_a_folder_of_its_own():
    assert {path.stem for path in (ROOT / "PULC").glob("*.yaml")} == set(PULC)
    for path in ROOT.rglob("*.yaml"):
        assert f"output_dir: output/slim/{path.relative_to(ROOT).with_suffix('')}\n" in path.read_text()


def bad(files, **options):
    found = list(outcomes([str(path) for path in files], ["Global.image_shape=[3,64,64]"], workers=2, **options))
    assert len(found) == len(files) > 0
    return {outcome.file: outcome.reason for outcome in found if outcome.status != "ok"}


def test_each_is_read():
    assert bad(sorted(ROOT.rglob("*.yaml")), timeout=PATIENCE, check=read) == {}


@pytest.mark.slow
def test_those_that_prune_and_quantize_and_those_of_each_kind_of_labels_pass_their_dry_run():
    kinds = [ROOT / "PULC" / f"{name}.yaml" for name in ("car_exists", "person_attribute", "clarity_assessment")]
    assert bad([*sorted(ROOT.glob("*_prune_quantization.yaml")), *kinds], timeout=600) == {}
