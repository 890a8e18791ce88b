"""Every committed configuration of compression is rehearsed, on small images: built, compressed, trained, exported."""

from pathlib import Path

import pytest

from ppcls_compress.commands import dry_run  # noqa: F401  Paddle is loaded before processes fork
from ppcls_compress.commands.many import outcomes

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


@pytest.mark.slow
def test_each_passes_its_dry_run():
    files = [str(path) for path in sorted(ROOT.rglob("*.yaml"))]
    found = list(outcomes(files, ["Global.image_shape=[3,64,64]"], workers=2, timeout=600))
    assert {outcome.file: outcome.reason for outcome in found if outcome.status != "ok"} == {}
    assert len(found) == len(files)
