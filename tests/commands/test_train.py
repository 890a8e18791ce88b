import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.cli import main

ROOT = Path(__file__).resolve().parents[2]
PRUNE = "Slim.prune={name: fpgm, pruned_ratio: 0.3}"
QUANT = "Slim.quant={name: pact}"


def run(command, config, *overrides, arguments=()):
    assert main([command, "-c", str(config), *arguments, *(part for text in overrides for part in ("-o", text))]) == 0


def refused(capsys, command, config, *overrides, arguments=()):
    capsys.readouterr()
    code = main([command, "-c", str(config), *arguments, *(part for text in overrides for part in ("-o", text))])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1
    return errors[0]


def metrics(config, tmp_path, *overrides):
    run("eval", config, *overrides, arguments=["--json", str(tmp_path / "metrics.json")])
    return numbers(tmp_path / "metrics.json")


def numbers(file):
    """The metrics by themselves."""
    return {name: value for name, value in json.loads(file.read_text()).items() if isinstance(value, float)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with a dense checkpoint in `dense/`; tests must not write into it."""
    root = tmp_path_factory.mktemp("project")
    config = make_project(root)
    run("train", config, f"Global.output_dir={root}/dense")
    return root


def dense(root):
    return str(root / "dense" / "CIFARResNet8" / "best_model")


def test_training_writes_checkpoints_and_a_log(trained):
    folder = trained / "dense" / "CIFARResNet8"
    names = {path.name for path in folder.iterdir()}
    for name in ("best_model", "latest", "epoch_1", "epoch_2"):
        assert {f"{name}.{part}" for part in ("pdparams", "pdopt", "pdstates", "slim.json")} <= names
    log = (folder / "train.log").read_text()
    assert "epoch 2/2" in log
    assert "images/s" in log


def test_resumed_equals_uninterrupted_with_pruning_and_quantization(trained, tmp_path):
    config = trained / "config.yaml"
    start = [PRUNE, QUANT, "Global.epochs=3", f"Global.pretrained_model={dense(trained)}"]
    run("train", config, *start, f"Global.output_dir={tmp_path}/whole")
    resume = [*start[:-1], f"Global.checkpoints={tmp_path}/whole/CIFARResNet8/epoch_1"]
    run("train", config, *resume, f"Global.output_dir={tmp_path}/resumed")
    for part in ("pdparams", "pdopt"):
        whole, resumed = (io.read_state(f"{tmp_path}/{run}/CIFARResNet8/latest.{part}") for run in ("whole", "resumed"))
        assert whole.keys() == resumed.keys()
        assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_pruned_checkpoint_is_smaller_and_evaluates_the_same_in_a_fresh_process(trained, tmp_path):
    config = trained / "config.yaml"
    run("train", config, PRUNE, f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}")
    prefix = tmp_path / "CIFARResNet8" / "latest"
    assert Path(f"{prefix}.pdparams").stat().st_size < 0.8 * Path(f"{dense(trained)}.pdparams").stat().st_size
    expected = metrics(config, tmp_path, f"Global.pretrained_model={prefix}")
    script = [
        sys.executable,
        str(ROOT / "tools" / "eval.py"),
        "-c",
        str(config),
        "--json",
        str(tmp_path / "fresh.json"),
    ]
    subprocess.run([*script, "-o", f"Global.pretrained_model={prefix}", "-o", PRUNE], check=True, capture_output=True)
    # Sums in float32 follow how memory is aligned, which is another process' own affair.
    assert numbers(tmp_path / "fresh.json") == pytest.approx(expected, rel=1e-6)


def test_steps_are_not_repeated_and_quantization_can_be_dropped(trained, tmp_path):
    config = trained / "config.yaml"
    run("train", config, PRUNE, f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}/pruned")
    pruned = f"{tmp_path}/pruned/CIFARResNet8/latest"
    run("train", config, PRUNE, QUANT, f"Global.pretrained_model={pruned}", f"Global.output_dir={tmp_path}/both")
    both = f"{tmp_path}/both/CIFARResNet8/latest"
    records = [io.read_json(f"{prefix}.slim.json")["steps"] for prefix in (pruned, both)]
    assert [[step["kind"] for step in steps] for steps in records] == [["prune"], ["prune", "quant"]]
    assert records[0][0] == records[1][0]
    for override, kinds in (("Slim.quant=null", ["prune"]), ("Global.seed=1", ["prune", "quant"])):
        start = [f"Global.pretrained_model={both}", f"Global.output_dir={tmp_path}/again", "Global.epochs=1", override]
        run("train", config, *start)
        steps = io.read_json(f"{tmp_path}/again/CIFARResNet8/latest.slim.json")["steps"]
        assert [step["kind"] for step in steps] == kinds


def test_contradicting_options_are_an_error(trained, tmp_path, capsys):
    config = trained / "config.yaml"
    run("train", config, PRUNE, f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}")
    prefix = tmp_path / "CIFARResNet8" / "latest"
    text = refused(
        capsys, "eval", config, "Slim.prune={name: fpgm, pruned_ratio: 0.5}", f"Global.pretrained_model={prefix}"
    )
    assert "Slim.prune.pruned_ratio: the weights were made with 0.3, the configuration says 0.5" in text


def test_another_class_count_starts_the_classifier_afresh(trained, tmp_path):
    config = trained / "config.yaml"
    start = [f"Global.pretrained_model={dense(trained)}", "Arch.class_num=4", "Infer=null"]
    run("train", config, *start, f"Global.output_dir={tmp_path}", "Global.epochs=1")
    assert "starts afresh" in (tmp_path / "CIFARResNet8" / "train.log").read_text()


@pytest.mark.parametrize(
    "prune",
    [
        "{name: taylor, pruned_ratio: 0.3}",
        "{name: bn_scale, target_flops: 0.6, global: true}",
        "{name: l1_norm, target_params: 0.5, bn_recalibration: 2, align: 4}",
        "{name: fpgm, pruned_ratio: {'blocks.*': 0.5}, skip: [blocks.0]}",
    ],
)
def test_options_of_pruning_reach_the_pruner(trained, tmp_path, prune):
    start = [f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}", "Global.epochs=1"]
    run("train", trained / "config.yaml", f"Slim.prune={prune}", *start)
    step = io.read_json(tmp_path / "CIFARResNet8" / "latest.slim.json")["steps"][0]
    left = {key: step["after"][key] / step["before"][key] for key in ("params", "flops")}
    if "target_flops" in prune:
        assert left["flops"] == pytest.approx(0.6, abs=0.02)
    elif "target_params" in prune:
        assert all(layer["after"]["shape"][0] % 4 == 0 for layer in step["layers"] if "conv" in layer["name"])
    assert left["params"] < 0.95


def test_iterative_pruning_trains_between_its_steps_and_can_be_taken_up(trained, tmp_path):
    prune = "Slim.prune={name: fpgm, pruned_ratio: 0.5, iterative: {steps: 2, epochs_per_step: 1}}"
    config, folder = trained / "config.yaml", tmp_path / "CIFARResNet8"
    start = [prune, f"Global.output_dir={tmp_path}", "Global.epochs=1"]
    run("train", config, *start, f"Global.pretrained_model={dense(trained)}")
    steps = io.read_json(folder / "latest.slim.json")["steps"]
    assert [step["kind"] for step in steps] == ["prune", "prune"]
    shapes = [
        io.read_state(folder / name)["stem.conv.weight"].shape[0]
        for name in ("iteration_1.pdparams", "latest.pdparams")
    ]
    assert shapes == [11, 8]
    assert (folder / "train.log").read_text().count("training after iteration") == 1
    run("train", config, *start, f"Global.pretrained_model={folder}/iteration_1")
    assert io.read_state(folder / "latest.pdparams")["stem.conv.weight"].shape[0] == 8
    assert (folder / "train.log").read_text().count("training after iteration") == 1


@pytest.mark.slow
def test_a_latency_out_of_reach_is_told_with_what_was_measured(trained, tmp_path, capsys):
    start = [f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}"]
    text = refused(capsys, "train", trained / "config.yaml", "Slim.prune={name: fpgm, target_latency_ms: 1000}", *start)
    assert re.search(r"target_latency_ms: 1000.0 cannot be met; the nearest that these layers allow is \d+\.\d+", text)


def test_evaluation_cannot_prune_by_gradients(trained, capsys):
    text = refused(
        capsys,
        "eval",
        trained / "config.yaml",
        "Slim.prune={name: taylor}",
        f"Global.pretrained_model={dense(trained)}",
    )
    assert "Slim.prune: the weights have no such step; run ppcls-compress train" in text


@pytest.mark.parametrize("slim", [(PRUNE,), (QUANT,), (PRUNE, QUANT)], ids=["fpgm", "pact", "both"])
def test_a_smaller_student_learns_from_the_dense_teacher(trained, tmp_path, capsys, slim):
    config = trained / "config.yaml"
    start = [*slim, f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}", "Global.epochs=1"]
    run("train", config, *start, f"Slim.distill.teacher={dense(trained)}")
    assert (tmp_path / "CIFARResNet8" / "train.log").read_text().count("tensors loaded") == 2
    lost = "Slim.distill.teacher=/nowhere/weights"
    assert "Slim.distill.teacher: " in refused(capsys, "train", config, lost)
    assert "Slim.distill.teacher: " in refused(capsys, "train", config, lost, arguments=["--dry-run"])
    student = [*slim, lost, f"Global.pretrained_model={tmp_path}/CIFARResNet8/latest"]
    run("eval", config, *student)
    run("export_model", config, *student, f"Global.save_inference_dir={tmp_path}/inference")
    misspelt = [f"Slim.distill.teacher={dense(trained)}", "Slim.distill.arch=CIFARResNet9"]
    assert "Slim.distill.arch.name: unknown architecture" in refused(capsys, "train", config, *misspelt)


@pytest.mark.parametrize("slim", [(), (PRUNE,), (QUANT,), (PRUNE, QUANT)], ids=["dense", "fpgm", "pact", "both"])
def test_dry_run_needs_no_data_and_leaves_nothing(tmp_path, slim):
    config = make_project(tmp_path / "project")
    for path in (tmp_path / "project" / "images").glob("*_list.txt"):
        path.unlink()
    before = sorted(tmp_path.rglob("*"))
    run("train", config, *slim, arguments=["--dry-run"])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("every_key", ["Global.epoch=3", "Arch.clas_num=4", "Slim.prune.ratio=0.1"])
def test_unknown_keys_are_refused(trained, capsys, every_key):
    assert "unknown" in refused(capsys, "train", trained / "config.yaml", every_key)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("Global.epochs=soon", "Global.epochs: "),
        ("Arch.name=CIFARResNet21", "Arch.name: unknown architecture 'CIFARResNet21'; did you mean 'CIFARResNet"),
        (
            "Global.pretrained_model=/nowhere/weights",
            "Global.pretrained_model: /nowhere/weights.pdparams does not exist",
        ),
        ("Global.device=gpu", "Global.device: gpu is not available"),
        ("DataLoader.Train.dataset.cls_label_path=missing.txt", "DataLoader.Train.dataset.cls_label_path: missing.txt"),
        ("DataLoader.Train.sampler.batch_size=25", "batch_size"),
        ("Arch.class_num=2", "label 2 is outside 0 .. 1"),
        ("Slim.quant={name: pact, weight_bits: 1}", "Slim.quant: weight_bits: 1 is not a whole number from 2 to 16"),
        ("Slim.quant={activation_bits: 17}", "Slim.quant: activation_bits: 17 is not a whole number from 2 to 16"),
        ("Slim.quant={weight_quantize_type: absmax}", "did you mean 'abs_max'"),
        ("Slim.quant={name: qat, alpha_init: mse}", "Slim.quant: alpha_init: 'mse' has no effect with name: qat"),
        ("Slim.quant={skip: [blok.*]}", "Slim.quant.skip: unknown layer 'blok.*'"),
        ("Slim.quant={per_layer: [{layers: [hed], weight_bits: 4}]}", "Slim.quant.per_layer: unknown layer 'hed'"),
        ("Slim.quant={quantizable_layer_type: [Conv2DTranspose]}", "CIFARResNet has no layer that can be quantized"),
    ],
)
def test_bad_values_are_one_line(trained, capsys, override, expected, tmp_path):
    extra = "DataLoader.Train.sampler.drop_last=True"
    text = refused(capsys, "train", trained / "config.yaml", override, extra, f"Global.output_dir={tmp_path}/out")
    assert expected in text
    assert not list(tmp_path.rglob("*.pdparams"))


def test_broken_data_is_one_line(tmp_path, capsys):
    config = make_project(tmp_path)
    listing = tmp_path / "images" / "train_list.txt"
    good = listing.read_text()
    listing.write_text("")
    assert "train_list.txt: the list is empty" in refused(capsys, "train", config)
    listing.write_text(good.replace("train/003.png 0", "train/003.png zero"))
    assert "train_list.txt:4: " in refused(capsys, "train", config)
    assert not (tmp_path / "output").exists()  # not even an empty log
    listing.write_text(good)
    picture = tmp_path / "images" / "train" / "005.png"
    picture.write_bytes(picture.read_bytes()[:-20])
    assert "005.png" in refused(capsys, "train", config)
    run("train", config, "DataLoader.Train.dataset.skip_bad_images=1", "Global.epochs=1")


def test_half_written_checkpoint_is_told_and_kept(trained, tmp_path, capsys):
    config = trained / "config.yaml"
    run("train", config, f"Global.output_dir={tmp_path}", "Global.epochs=1")
    path = tmp_path / "CIFARResNet8" / "latest.pdparams"
    path.write_bytes(path.read_bytes()[:1000])
    kept = {path.name: path.read_bytes() for path in tmp_path.rglob("*.pd*")}
    text = refused(
        capsys, "train", config, f"Global.checkpoints={path.with_suffix('')}", f"Global.output_dir={tmp_path}"
    )
    assert "half-written" in text
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.pd*")} == kept
    assert "latest.pdparams" in refused(capsys, "eval", config, f"Global.pretrained_model={path}")


def test_resuming_needs_the_same_network_and_seed(trained, tmp_path, capsys):
    config, start = trained / "config.yaml", f"Global.checkpoints={trained}/dense/CIFARResNet8/epoch_1"
    for slim in (PRUNE, QUANT):
        text = refused(capsys, "train", config, start, slim, f"Global.output_dir={tmp_path}")
        assert "the checkpoint lacks the step that Slim." in text
    text = refused(capsys, "train", config, start, "Global.seed=5", f"Global.output_dir={tmp_path}")
    assert "Global.seed: is 5, but the run of Global.checkpoints has 0" in text
    assert not list(tmp_path.rglob("*.pdparams"))


def test_options_of_training_may_change_on_the_way(trained, tmp_path):
    config = trained / "config.yaml"
    run("train", config, QUANT, f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}")
    faster = "Slim.quant={name: pact, alpha_learning_rate: 3, freeze_bn_epoch: 1}"
    weights = f"Global.pretrained_model={tmp_path}/CIFARResNet8/latest"
    run("train", config, faster, weights, f"Global.output_dir={tmp_path}/again", "Global.epochs=1")
    options = io.read_json(tmp_path / "again" / "CIFARResNet8" / "latest.slim.json")["steps"][0]["options"]
    assert (options["alpha_learning_rate"], options["freeze_bn_epoch"]) == (3, 1)


def test_weights_are_needed_where_only_trained_ones_make_sense(trained, capsys):
    for command in ("eval", "infer"):
        assert "Global.pretrained_model: name the trained weights" in refused(capsys, command, trained / "config.yaml")


def test_training_images_may_be_smaller_than_those_of_evaluation(trained, tmp_path, capsys):
    smaller = "DataLoader.Train.dataset.transform_ops.1={CropImage: {size: 6}}"
    run("train", trained / "config.yaml", smaller, "Global.epochs=1", f"Global.output_dir={tmp_path}")
    assert (tmp_path / "CIFARResNet8" / "latest.pdparams").is_file()
    text = refused(capsys, "train", trained / "config.yaml", smaller, "Global.eval_during_train=False")
    assert "DataLoader.Train.dataset.transform_ops make images of [3, 6, 6]" in text


def test_sizes_of_training_images_progress(trained, tmp_path):
    crop = "DataLoader.Train.dataset.transform_ops.1={RandCropImage: {size: 6, progress_size: [6, 8]}}"
    for evaluated in (True, False):
        folder = tmp_path / str(evaluated)
        overrides = [crop, "Global.epochs=2", f"Global.eval_during_train={evaluated}", f"Global.output_dir={folder}"]
        run("train", trained / "config.yaml", *overrides)
        assert (folder / "CIFARResNet8" / "latest.pdparams").is_file()


def test_weights_that_blow_up_are_never_saved(trained, tmp_path, capsys):
    overrides = ["Optimizer.lr.learning_rate=1e38", "DataLoader.Train.sampler.batch_size=24", "Global.epochs=1"]
    text = refused(capsys, "train", trained / "config.yaml", *overrides, f"Global.output_dir={tmp_path}")
    assert "training stopped" in text
    assert not list(tmp_path.rglob("*.pdparams"))


def test_gradients_of_the_criterion_are_no_part_of_training(trained, tmp_path):
    from ppcls_compress.config.load import load_config
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.context import compression_context
    from ppcls_compress.engine.loaders import training_loader

    prune = "Slim.prune={name: taylor, skip: [blocks.0]}"
    config = load_config(trained / "config.yaml", [prune, f"Global.pretrained_model={dense(trained)}"])
    model, _ = assemble.build_model(config, context=compression_context(config, lambda: training_loader(config)))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_infer_answers_one_line_for_each_image(trained, capsys):
    capsys.readouterr()
    run("infer", trained / "config.yaml", f"Global.pretrained_model={dense(trained)}")
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 12
    assert answers[0]["file_name"].endswith("val/000.png")
    assert len(answers[0]["class_ids"]) == len(answers[0]["scores"]) == 2
    assert set(answers[0]["label_names"]) <= {"blue", "green", "red"}


@pytest.mark.slow
def test_two_processes_train_one_model(trained, tmp_path):
    """Ranks compress identically, share the batches, and only the first writes."""
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]
    command = [*launch, "--log_dir", str(tmp_path / "log"), str(ROOT / "tools" / "train.py")]
    overrides = [PRUNE, QUANT, f"Global.pretrained_model={dense(trained)}", f"Global.output_dir={tmp_path}/out"]
    arguments = ["-c", str(trained / "config.yaml"), *(part for text in overrides for part in ("-o", text))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "out" / "CIFARResNet8"
    assert (folder / "latest.pdparams").exists()
    assert (folder / "train.log").read_text().count("epoch 2/2, evaluation") == 1
    assert [step["kind"] for step in io.read_json(folder / "latest.slim.json")["steps"]] == ["prune", "quant"]
    told = re.search(r"epoch 2/2, evaluation: .*", (folder / "train.log").read_text())[0]
    found = metrics(trained / "config.yaml", tmp_path, PRUNE, QUANT, f"Global.pretrained_model={folder}/latest")
    assert float(re.search(r"loss ([\d.]+)", told)[1]) == pytest.approx(found["loss"], abs=1e-4)
    assert float(re.search(r"top1 ([\d.]+)%", told)[1]) == pytest.approx(100 * found["top1"], abs=0.01)


def test_an_unquoted_override_is_explained(trained, capsys):
    capsys.readouterr()
    assert main(["train", "-c", str(trained / "config.yaml"), "-o", "Slim.prune={name:", "fpgm}"]) == 2
    assert "error: unknown argument 'fpgm}'; quote a value that has spaces" in capsys.readouterr().err
    assert main(["train", "-c", str(trained / "config.yaml"), "--resum=1"]) == 2
    assert capsys.readouterr().err == "error: unknown argument '--resum=1'; did you mean --resume?\n"


def test_weights_of_a_url_come_from_the_cache(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PPCLS_COMPRESS_CACHE", str(tmp_path / "cache"))
    url = "https://some.invalid/x.pdparams"
    text = refused(capsys, "eval", trained / "config.yaml", f"Global.pretrained_model={url}")
    assert f"Global.pretrained_model: {url}: cannot be downloaded" in text
    assert f"put it at {tmp_path}/cache/some.invalid/x.pdparams" in text
    assert "Global.checkpoints: expected a path, found https" in refused(
        capsys, "train", trained / "config.yaml", f"Global.checkpoints={url}"
    )
    best = trained / "dense" / "CIFARResNet8" / "best_model"
    kept = tmp_path / "cache" / "some.invalid" / "x.pdparams"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(best.with_suffix(".pdparams").read_bytes())
    found = metrics(trained / "config.yaml", tmp_path, f"Global.pretrained_model={url}")
    assert found == metrics(trained / "config.yaml", tmp_path, f"Global.pretrained_model={best}")
