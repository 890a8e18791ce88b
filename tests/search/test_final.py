import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import cv2
import pytest
import yaml

from ppcls_compress import cli
from ppcls_compress.commands import compress
from ppcls_compress.config.auto import Auto
from ppcls_compress.errors import NotKeptError, UserError
from ppcls_compress.report.page import searched
from ppcls_compress.search import final, judge, preparing, rows
from ppcls_compress.search.judge import Drop
from ppcls_compress.search.workshop import Workshop

AUTO = Auto(max_drop=1.0, target={"bytes": 0.5}, runtime="onnx-ort")


def row(name, points, share):
    drop = Drop(points, points + 0.4, 100)
    shares = {"bytes": share, "flops": 1.0, "params": 1.0}
    row = rows.Row(name, int(name[:3]), int(name[4:]), f"candidate {name}", "artifact/onnx-ort", shares, drop, 2.0)
    return replace(row, folder=name)


FOUND = [
    row("000-0", 0.1, 0.4),
    row("001-0", 0.2, 0.5),
    row("002-0", 0.0, 0.6),
    rows.Row("003-0", 3, 0, "candidate 003-0", lost="failed: NaN"),
]


@pytest.fixture
def workshop(tmp_path):
    common = SimpleNamespace(output_dir="output")
    config = SimpleNamespace(Global=common, Arch=SimpleNamespace(name="LeNet"), Slim=SimpleNamespace(auto=AUTO))
    shop = Workshop(tmp_path, {}, config)
    for each in FOUND[:3]:
        folder = shop.place_of(each.name)
        (folder / each.artifact).mkdir(parents=True)
        (folder / each.artifact / "model.onnx").write_text(each.name)
        (folder / "recipe.yaml").write_text(yaml.safe_dump({"Global": {"epochs": 3, "output_dir": "x"}, "Slim": {}}))
    return shop


def concluded(workshop, monkeypatch, more=(), **bounds):
    asked = []

    def decide(shop, ready, row, alpha):
        asked.append((row.name, round(alpha, 4)))
        return Drop(0.5, bounds[f"n{row.slot}"], 100)

    monkeypatch.setattr(final, "_judged", decide)
    try:
        return final.conclude(workshop, SimpleNamespace(seen=workshop.config, kept=None), [*FOUND, *more]), asked
    except NotKeptError as error:
        return error, asked


def test_the_first_finalist_that_passes_is_handed_over_with_its_recipe(workshop, monkeypatch):
    found, asked = concluded(workshop, monkeypatch, n0=1.2, n1=0.9)
    assert asked == [("000-0", 0.04), ("001-0", 0.008)]
    assert (found.row.name, found.folder) == ("001-0", workshop.folder / "result")
    # 0.20 points were lost on the images of the search, which chose it.
    assert found.told("bytes") == "+0.50 points lost on the 100 images that decide, less than 0.90, 50.0% of the bytes"
    assert (found.folder / "artifact" / "onnx-ort" / "model.onnx").read_text() == "001-0"
    recipe = yaml.safe_load((found.folder / "recipe.yaml").read_text())
    common = {"epochs": 3, "output_dir": "output/compressed", "save_inference_dir": "output/compressed/inference"}
    assert recipe == {"Global": common, "Slim": {}}
    head = (found.folder / "recipe.yaml").read_text()
    assert f"# ppcls-compress train -c output/LeNet/{workshop.folder.name}/result/recipe.yaml\n" in head
    assert "output/compressed/LeNet/latest --format onnx-ort" in head
    assert json.loads((found.folder / "contract.json").read_text())["drop_bound"] == 0.9


def test_a_search_that_goes_on_gives_no_share_of_the_error_twice(workshop, monkeypatch):
    first = concluded(workshop, monkeypatch, n0=1.2, n1=1.5)[1]
    assert first == [("000-0", 0.04), ("001-0", 0.008)]
    source = workshop.place_of("000-0")
    shutil.copytree(source, workshop.place_of("004-0"))
    better = [row("004-0", -0.5, 0.4)]  # what had failed for a reason that passed
    for _ in range(2):
        found, again = concluded(workshop, monkeypatch, n0=1.2, n1=1.5, n4=1.1, more=better)
        assert again == [("004-0", 0.0016), *first]
        assert isinstance(found, NotKeptError)


def test_who_has_which_share_of_the_error_does_not_depend_on_who_was_shown(workshop, monkeypatch):
    assert concluded(workshop, monkeypatch, n0=0.9)[1] == [("000-0", 0.04)]
    shutil.copytree(workshop.place_of("000-0"), workshop.place_of("004-0"))
    more = [row("004-0", -0.5, 0.4)]  # had failed
    assert concluded(workshop, monkeypatch, more=more, n0=0.9, n4=0.8)[1] == [("004-0", 0.0016)]
    asked = concluded(workshop, monkeypatch, more=more, n0=1.1, n1=1.1, n4=1.1)[1]
    assert asked == [("004-0", 0.0016), ("000-0", 0.04), ("001-0", 0.008)]


def test_another_max_drop_shows_the_deciding_images_nobody_else(workshop, monkeypatch):
    """Those that were trained longest would be finalists of a larger one, in place of who is promised to keep it."""
    sure, longer = (
        [row(f"00{slot}-0", 0.0, 0.4) for slot in (4, 5, 6)],
        [row(f"00{slot}-2", 0.2, 0.4) for slot in "789"],
    )
    tight, loose = AUTO.model_copy(update={"max_drop": 0.5}), AUTO.model_copy(update={"max_drop": 0.7})
    monkeypatch.setattr(final, "_hand_over", lambda *_: workshop.folder)
    bounds = {"n4": 0.9, "n5": 0.8, "n6": 0.6}
    for auto, chosen in ((tight, None), (loose, "006-0"), (tight, None)):
        workshop.config.Slim.auto = auto
        found, asked = concluded(workshop, monkeypatch, more=[*sure, *longer], **bounds)
        assert asked == [("004-0", 0.04), ("005-0", 0.008), ("006-0", 0.0016)]
        assert (found.row.name if chosen else type(found)) == (chosen or NotKeptError)


def test_the_recipe_of_a_calibrated_candidate_tells_the_command_between_training_and_export():
    recipe = {"Slim": {"prune": {"name": "fpgm"}, "quant": {"name": "ptq"}}}
    assert final._commands(recipe, "a b/recipe.yaml", "output/compressed/LeNet", "onnx-ort") == [
        "ppcls-compress train -c 'a b/recipe.yaml' -o Slim.quant=null",
        "ppcls-compress quantize -c 'a b/recipe.yaml' -o Global.pretrained_model=output/compressed/LeNet/latest",
        "ppcls-compress export_model -c 'a b/recipe.yaml' -o Global.pretrained_model=output/compressed/LeNet/quantized "
        "--format onnx-ort",
    ]


def test_the_table_tells_of_everything_that_was_tried_why_it_lost(workshop, monkeypatch):
    found, _ = concluded(workshop, monkeypatch, n0=1.2, n1=0.9)
    told = {each["name"]: each for each in json.loads((found.folder / "tried.json").read_text())}
    assert [each["lost"] for each in told.values()] == [
        "on the 100 images that decide it lost 0.50 points, which may be 1.20, and 1 are allowed",
        "",
        "60.0% of the bytes, 50.0% are allowed",
        "failed: NaN",
    ]
    assert [each["pareto"] for each in told.values()] == [True, False, True, False]
    files = [each["artifact"] for each in told.values()]
    assert all((workshop.folder / file / "model.onnx").exists() for file in files[:3])
    assert files[3] is None
    assert told["001-0"]["deciding_drop_bound"] == 0.9
    with (found.folder / "tried.csv").open(encoding="utf-8") as stream:
        assert [line["name"] for line in csv.DictReader(stream)] == list(told)
    assert cv2.imread(str(found.folder / "tried.png")).shape[0] > 100


def test_where_none_passes_there_is_no_artifact_and_what_would_have_to_be_loosened_is_told(workshop, monkeypatch):
    (workshop.folder / "result").mkdir()
    found, _ = concluded(workshop, monkeypatch, n0=1.2, n1=1.501)
    assert isinstance(found, NotKeptError)
    assert "none of 4 trainings keeps the contract" in str(found)
    longer = replace(row("002-1", -1.0, 0.7), round=1)
    again, _ = concluded(workshop, monkeypatch, more=[longer], n0=1.2, n1=1.501)
    nearest = [line.partition(",")[0] for line in str(again).splitlines()[1:-2]]
    assert nearest == ["000-0", "001-0", "002-0"]  # each candidate once, those that were decided on first
    more = "100 images that decide to about 200 if 000-0 loses as little on them"
    told = f"max_drop to 1.20 for 000-0, or max_drop to 1.51 for 001-0, or {more}, or target.bytes to 0.60 for 002-0"
    assert told in str(found)
    assert str(found).endswith("with another max_drop the same command decides anew, and trains nothing")
    assert not (workshop.folder / "result").exists()
    assert (workshop.folder / "tried.csv").exists()


@pytest.mark.parametrize(
    ("points", "bound", "count"), [(-1.0, 0.83, 1400), (0.0, 0.4, 600), (0.5, 0.9, None), (0.49, 2.0, None)]
)
def test_so_many_images_would_decide_it(points, bound, count):
    assert final.images_enough(Drop(points, bound, 900), 0.5) == count


def test_what_failed_for_a_reason_that_may_pass_is_no_refusal(workshop, monkeypatch):
    passing = replace(FOUND[3], lost="failed: No space left on device", passing=True)
    monkeypatch.setattr(final, "_judged", lambda *_: Drop(0.5, 1.2, 100))
    ready = SimpleNamespace(seen=workshop.config, kept=None)
    with pytest.raises(UserError, match="003-0, failed: No space left on device; nothing else keeps") as told:
        final.conclude(workshop, ready, [*FOUND[:3], passing])
    assert not isinstance(told.value, NotKeptError)


def test_the_page_shows_what_was_tried_with_its_limits_and_why_it_lost(workshop, monkeypatch):
    found, _ = concluded(workshop, monkeypatch, n0=1.2, n1=0.9)
    tried, promise = (json.loads((found.folder / f"{name}.json").read_text()) for name in ("tried", "contract"))
    search = searched.Search(tried, "bytes", 0.5, 1.0, promise)
    text = searched.section(search).html()
    assert "it lost 0.50 points, which may be 1.20" in text
    assert "<b>chosen</b>" in text
    (drawing,) = searched.section(search).drawings()
    kinds = {shape.told.split(":")[0]: shape.kind for shape in drawing.shapes if hasattr(shape, "told")}
    assert kinds == {"000-0": "s1", "001-0": "good", "002-0": "s1"}
    assert sum(getattr(shape, "kind", "") == "bad" for shape in drawing.shapes) == 2
    assert "<b>0.50</b>points lost on" in searched.headline(search)
    better = replace(search, promise={**promise, "drop_points": -1.5})
    assert "<b>1.50</b>points gained on" in searched.headline(better)
    assert "not kept" in searched.headline(replace(search, promise=None))


def test_a_drop_that_no_network_could_prove_is_refused(workshop, tmp_path):
    metric = SimpleNamespace(Eval=(judge.TopkAcc(topk=(1,)),))
    kept = SimpleNamespace(Metric=metric, Slim=SimpleNamespace(auto=AUTO))
    answers = {"rank": judge.np.zeros(100, int), "classes": judge.np.full(100, 10)}
    workshop.dense.mkdir()
    judge.save(answers, workshop.dense / preparing.DECIDING)
    with pytest.raises(
        NotKeptError, match=r"max_drop: 1 points cannot be proven on the 100 images.*less than 2.97 points"
    ):
        preparing._check_provable(workshop, kept)


def test_a_contract_that_cannot_be_kept_has_an_exit_code_of_its_own(monkeypatch, capsys):
    def refuse(args):
        raise NotKeptError("nothing keeps it")

    monkeypatch.setattr(compress, "run", refuse)
    assert cli.main(["compress", "-c", "some.yaml"]) == 3
    assert capsys.readouterr().err.endswith("error: nothing keeps it\n")


def test_a_configuration_without_a_contract_is_told_what_it_looks_like(tmp_path, capsys):
    (tmp_path / "some.yaml").write_text("Arch: {name: LeNet}\n")
    assert cli.main(["compress", "-c", f"{tmp_path}/some.yaml"]) == 2
    assert (
        "Slim.auto: this section says what may be lost and what is wanted, such as {max_drop" in capsys.readouterr().err
    )


def test_a_file_that_is_slower_when_it_is_timed_anew_is_not_handed_over(workshop, monkeypatch):
    auto = Auto(max_drop=1.0, target={"latency": 0.5}, runtime="onnx-ort")
    workshop.config.Slim.auto = auto
    found = [replace(each, shares={**each.shares, "latency": 0.45}) for each in FOUND[:2]]
    measured, asked = {"000-0": 0.52, "001-0": 0.48}, []

    def costs(folder, dense, runtime, *, timed):
        asked.append(folder.parts[-3])
        return judge.Costs(1, 1, 1, measured[folder.parts[-3]])

    monkeypatch.setattr(judge, "costs", costs)
    monkeypatch.setattr(final, "_judged", lambda *_: Drop(0.0, 0.5, 100))
    ready = SimpleNamespace(seen=workshop.config, kept=None)
    chosen = final.conclude(workshop, ready, found).row
    assert (chosen.name, chosen.shares["latency"]) == ("001-0", 0.48)
    assert final.conclude(workshop, ready, found).row == chosen
    assert asked == ["000-0", "001-0"]  # once each, so that the same command ends alike
    reasons = {each["name"]: each["lost"] for each in json.loads((workshop.folder / "tried.json").read_text())}
    assert "timed anew it takes 52.0% of the dense network's latency, and 50.0% are allowed" in reasons["000-0"]
