import pytest

from ppcls_compress.config.load import validate
from ppcls_compress.config.sections import MOST_CLASSES
from ppcls_compress.errors import ConfigError

BACKBONE = {"name": "MobileNetV1_x0_25"}
HEAD = {"name": "ArcMargin", "embedding_size": 256, "class_num": 77}
SPLIT = {
    "dataset": {"image_root": "x", "cls_label_path": "y", "transform_ops": ["DecodeImage"]},
    "sampler": {"batch_size": 4},
}


def config(**sections):
    arch = {"name": "RecModel", "Backbone": BACKBONE, **sections.pop("Arch", {})}
    return validate({"Arch": arch, **sections}, source="config.yaml")


def test_the_head_counts_the_classes():
    assert config(Arch={"Head": HEAD}).Arch.class_num == 77


def test_without_a_head_a_loss_counts_them_and_else_nobody():
    hashing = {"Train": [{"DCHLoss": {"gamma": 20, "_lambda": 0.1, "n_class": 10}}]}
    assert config(Loss=hashing).Arch.class_num == 10
    assert config(Loss={"Train": [{"TripletLoss": {}}]}).Arch.class_num == MOST_CLASSES


@pytest.mark.parametrize(("key", "features"), [("features", True), ("logits", False)])
def test_what_is_deployed_are_features_or_scores(key, features):
    found = config(Arch={"Head": HEAD, "infer_output_key": key}, Global={"feature_binarize": "sign"})
    assert found.Arch.gives_features == features
    assert found.Arch.infer_add_softmax == (not features)
    assert (found.post_process.answer.__self__.__class__.__name__ == "FeatureOutput") == features


def test_queries_alone_are_the_gallery_too():
    found = config(Global={"eval_mode": "retrieval"}, DataLoader={"Eval": {"Query": SPLIT}})
    assert found.DataLoader.Eval.gallery is found.DataLoader.Eval.query
    assert list(found.DataLoader.Eval.splits("DataLoader.Eval")) == ["DataLoader.Eval.Query"]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"Global": {"eval_mode": "retrieval"}, "DataLoader": {"Eval": SPLIT}}, "DataLoader.Eval: .*expected {Query"),
        ({"DataLoader": {"Eval": {"Query": SPLIT}}}, "DataLoader.Eval: .*expected {dataset"),
        (
            {"Global": {"eval_mode": "adaface"}, "DataLoader": {"Eval": SPLIT}},
            "DataLoader.Eval.dataset.name: .*expected FiveValidationDataset",
        ),
        ({"Metric": {"Eval": [{"mAP": {}}]}}, r"Metric.Eval.0.mAP: Global.eval_mode is classification; choose one of"),
        ({"Global": {"feature_binarize": "signs"}}, "Global.feature_binarize: found 'signs'"),
    ],
)
def test_an_evaluation_of_two_minds_is_refused(sections, told):
    with pytest.raises(ConfigError, match=told):
        config(Arch={"Head": HEAD}, **sections)
