import pytest
from support.doubting import configured

from ppcls_compress.engine.doubts import preparation
from ppcls_compress.engine.doubts.schedule import about_warm_up, about_watching
from ppcls_compress.errors import ConfigError
from ppcls_compress.metrics import METRICS

NORMAL = "{mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], order: ''}"


def ops(decode="{to_rgb: False}", normalize=NORMAL, more="{ResizeImage: {size: 8}}"):
    return f"[{{DecodeImage: {decode}}}, {more}, {{NormalizeImage: {normalize}}}]"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (ops(), None),
        (ops("{to_rgb: False, backend: pil}", "{scale: 1/255, mean: 0.5, std: 0.25, channel_num: 3, order: ''}"), None),
        (
            "[{DecodeImage: {to_rgb: False}}, {ResizeImage: {size: 8}}, ToTensor, {Normalize: {mean: 0.5, std: 0.25}}]",
            None,
        ),
        (
            "[{DecodeImage: {to_rgb: False}}, {ResizeImage: {size: 8}}, ToTensor, {Normalize: {mean: 0.5, std: 0.2}}]",
            "NormalizeImage",
        ),
        (ops("{to_rgb: True}"), "colours (DecodeImage)"),
        (ops("{to_rgb: False, exif_orientation: False}"), "EXIF orientation (DecodeImage)"),
        (ops(normalize="{mean: [0.5, 0.5, 0.6], std: 0.25, order: ''}"), "NormalizeImage"),
        (ops(normalize="{mean: 0.5, std: 0.25, scale: 0.1, order: ''}"), "NormalizeImage"),
        ("[{DecodeImage: {to_rgb: False}}, {ResizeImage: {size: 8}}]", "NormalizeImage"),
    ],
)
def test_values_that_differ_between_lists_are_told(tmp_path, other, told):
    infer = list(preparation.about_inference(configured(tmp_path, f"Infer.transforms={other}")))
    train = list(preparation.about_training(configured(tmp_path, f"DataLoader.Train.dataset.transform_ops={other}")))
    artifact = list(
        preparation.about_artifact(
            configured(tmp_path, f"DataLoader.Eval.dataset.transform_ops={other}"),
            configured(tmp_path).Infer.transforms,
            "inference",
        )
    )
    if told is None:
        assert infer + train + artifact == []
        return
    assert infer == [
        f"Infer.transforms: differs from DataLoader.Eval.dataset.transform_ops in {told}; infer and exported networks "
        "will see other values than the network was trained and evaluated on"
    ]
    assert (
        f"DataLoader.Eval.dataset.transform_ops: differs from DataLoader.Train.dataset.transform_ops in {told}"
        in train[-1]
    )
    assert artifact == [
        f"DataLoader.Eval.dataset.transform_ops: differs from the preprocessing in inference in {told}; the score is "
        "that of other values"
    ]


def test_grey_beside_colour_is_told(tmp_path):
    other = ops("{channels: 1}", "{mean: 0.5, std: 0.25, order: ''}")
    lines = list(preparation.about_inference(configured(tmp_path, f"Infer.transforms={other}")))
    assert "in colours (DecodeImage); infer" in lines[0]
    assert lines[-1] == (
        "Infer.transforms: make images of [1, 8, 8], Global.image_shape is [3, 8, 8]; exported networks will refuse "
        "them. For both alike: -o Global.image_shape=[1, 8, 8]"
    )


@pytest.mark.parametrize(
    ("normalize", "told"),
    [
        (
            "{mean: [123.675, 116.28, 103.53], std: 0.25, order: ''}",
            "mean: [123.675, 116.28, 103.53] is beyond the largest pixel, which is 1 with this scale",
        ),
        ("{mean: 0.5, std: [58.395, 57.12, 57.375], order: ''}", "std: [58.395, 57.12, 57.375] is beyond"),
        ("{mean: [123.675, 116.28, 103.53], std: [58.4, 57.1, 57.4], scale: 1.0, order: ''}", None),
        ("{mean: 1.0, std: 1.0, order: ''}", None),
    ],
)
def test_means_that_no_pixel_comes_near_to_are_told(tmp_path, normalize, told):
    key = "DataLoader.Eval.dataset.transform_ops"
    lines = list(preparation.about_evaluation(configured(tmp_path, f"{key}={ops(normalize=normalize)}")))
    assert lines == [] if told is None else lines[0].startswith(f"{key}.2.NormalizeImage.{told}")


def test_a_score_that_is_left_to_chance_is_told_and_an_answer_that_is_is_refused(tmp_path):
    chance = ops(more="RandFlipImage, {RandCropImage: {size: 8}}")
    config = configured(tmp_path, f"DataLoader.Eval.dataset.transform_ops={chance}")
    assert list(preparation.about_evaluation(config)) == [
        "DataLoader.Eval.dataset.transform_ops: RandFlipImage, RandCropImage draw at random, so the score depends on "
        "Global.seed"
    ]
    with pytest.raises(ConfigError, match=r"Infer\.transforms\.1\.RandFlipImage: draws at random"):
        configured(tmp_path, f"Infer.transforms={chance}")


@pytest.mark.parametrize(("size", "told"), [(8, False), (9, True), ("[8, 9]", True)])
def test_images_of_another_size_than_the_network_takes_are_told(tmp_path, size, told):
    other = ops(more=f"{{ResizeImage: {{size: {size}}}}}")
    lines = list(preparation.about_inference(configured(tmp_path, f"Infer.transforms={other}")))
    assert [line for line in lines if "make images of" in line] == lines
    assert bool(lines) is told


def test_nothing_is_said_of_preparation_where_there_is_nothing_to_compare(tmp_path):
    assert list(preparation.about_inference(configured(tmp_path, without=["Infer"]))) == []
    assert (
        list(preparation.about_inference(configured(tmp_path, f"Infer.transforms={ops()}", without=["DataLoader"])))
        == []
    )
    assert list(preparation.about_artifact(configured(tmp_path), (), "inference")) == []
    # What depends on the size of an image, and a crop that a photo does not fill, is told of the image itself.
    for more in ("{CropImage: {size: 2000}}", "{ResizeImage: {resize_short: 9}}", "ToCHWImage"):
        normal = NORMAL.replace("''", "chw") if more == "ToCHWImage" else NORMAL
        config = configured(tmp_path, f"Infer.transforms={ops(more=more, normalize=normal)}")
        assert list(preparation.about_inference(config)) == []


@pytest.mark.parametrize(("warm_up", "told"), [(0, False), (1.5, False), (2, True), (5, True)])
def test_a_warm_up_that_outlasts_the_run_is_told(tmp_path, warm_up, told):
    lines = list(about_warm_up(configured(tmp_path, f"Optimizer.lr.warmup_epoch={warm_up}", "Global.epochs=2")))
    assert bool(lines) is told
    assert all(
        line.startswith(f"Optimizer.lr.warmup_epoch: {warm_up} epochs of warm-up in a run of 2") for line in lines
    )


def test_a_rate_that_watches_evaluations_wants_some(tmp_path):
    plateau = "Optimizer.lr={name: ReduceOnPlateau, learning_rate: 0.1, mode: max}"
    assert not list(about_watching(configured(tmp_path, plateau)))
    (line,) = about_watching(configured(tmp_path / "other", plateau, "Global.eval_during_train=False"))
    assert line.startswith("Optimizer.lr.name: ReduceOnPlateau lowers the rate by what evaluations find")


@pytest.mark.parametrize(
    ("metric", "mode", "told"),
    [
        ("TopkAcc", "min", "mode: is not max, but top1, which ReduceOnPlateau watches, is larger for"),
        ("TopkAcc", "max", None),
        ("HammingDistance", "max", "mode: is not min, but HammingDistance, which ReduceOnPlateau watches, is smaller"),
        ("HammingDistance", "min", None),
    ],
)
def test_a_rate_that_falls_while_the_metric_gets_better_is_told(tmp_path, metric, mode, told):
    config = configured(tmp_path, f"Optimizer.lr={{name: ReduceOnPlateau, learning_rate: 0.1, mode: {mode}}}")
    entry = METRICS.get(metric)()
    config = config.model_copy(update={"Metric": config.Metric.model_copy(update={"Eval": (entry,)})})
    lines = list(about_watching(config))
    assert len(lines) == (told is not None)
    assert all(told in line for line in lines)
