import cv2
import numpy as np
import paddle
import pytest
from support.exporting import export

from ppcls_compress import data
from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.decoding import DecodeImage
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess import POST_PROCESSES, Topk
from ppcls_compress.postprocess.classes import ThreshOutput

SHAPE = (3, 8, 8)
NAMES = ("red", "green", "blue")
OPS = parse_transforms(
    [
        {"DecodeImage": None},
        {"ResizeImage": {"size": 8}},
        {"NormalizeImage": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "order": ""}},
        {"ToCHWImage": None},
    ]
)


class Brightest(paddle.nn.Layer):
    """The brightest channel."""

    def __init__(self):
        super().__init__()
        self.contrast = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(3.0))

    def forward(self, x):
        return self.contrast * x.mean([2, 3])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictor")
    common = {"image_shape": SHAPE, "post_process": Topk(topk=2), "class_names": NAMES}
    export(Brightest(), folder / "logits", output="logits", preprocess=OPS, **common)
    export(Brightest(), folder / "probabilities", preprocess=OPS, **common)
    export(Brightest(), folder / "blue_first", preprocess=(DecodeImage(to_rgb=False), *OPS[1:]), **common)
    export(Brightest(), folder / "bare", image_shape=SHAPE)
    return folder


@pytest.fixture
def pictures(tmp_path):
    """Files and arrays (blue first) of a red, a blue and a green picture."""
    arrays, paths = [], []
    for name, channel in (("red", 2), ("blue", 0), ("green", 1)):
        picture = np.full((12, 10, 3), 20, np.uint8)
        picture[..., channel] = 200
        arrays.append(picture)
        paths.append(tmp_path / f"{name}.png")
        cv2.imwrite(str(paths[-1]), picture)
    return paths, arrays


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_predict_files_and_arrays(exported, pictures, kind):
    predictor = Predictor(exported / kind)
    paths, arrays = pictures
    answers = predictor.predict(paths)
    assert [answer["label_name"] for answer in answers] == ["red", "blue", "green"]
    assert [answer["class_id"] for answer in answers] == [0, 2, 1]
    assert predictor.predict(arrays) == answers
    best, other = 3 * (2 * 200 / 255 - 1), 3 * (2 * 20 / 255 - 1)
    assert answers[0]["score"] == pytest.approx(np.exp(best) / (np.exp(best) + 2 * np.exp(other)), rel=1e-5)


def test_other_channel_order_is_kept(exported, pictures):
    answers = Predictor(exported / "blue_first").predict(pictures[0])
    assert [answer["label_name"] for answer in answers] == ["blue", "red", "green"]


def test_stored_preprocessing_is_the_configured_one(exported, pictures):
    path = pictures[0][0]
    stored = data.build_pipeline(Predictor(exported / "logits").artifact.description.preprocess)
    np.testing.assert_array_equal(stored(path.read_bytes()), data.build_pipeline(OPS)(path.read_bytes()))


def test_classify_lists_as_many_as_exported(exported, pictures):
    answers = list(Predictor(exported / "probabilities").classify(pictures[0], batch_size=2))
    assert [answer["file_name"] for answer in answers] == [str(path) for path in pictures[0]]
    assert [len(answer["class_ids"]) for answer in answers] == [2, 2, 2]
    assert [answer["label_names"][0] for answer in answers] == ["red", "blue", "green"]
    assert len(next(Predictor(exported / "probabilities").classify(pictures[0], topk=3))["scores"]) == 3


def test_artifact_without_preprocessing_or_names(exported, pictures):
    predictor = Predictor(exported / "bare")
    assert predictor.run(np.zeros((2, *SHAPE), np.float32)).shape == (2, 3)
    with pytest.raises(UserError, match=r"inference\.yml: PreProcess\.transform_ops is empty"):
        predictor.predict(pictures[0])


@pytest.mark.parametrize("shape", [(1, 3, 8, 9), (3, 8, 8), (0, 3, 8, 8)])
def test_wrong_shape(exported, shape):
    with pytest.raises(UserError, match=r"takes images of shape \[N, 3, 8, 8\], found"):
        Predictor(exported / "bare").run(np.zeros(shape, np.float32))


@pytest.mark.parametrize("images", [[[1]], "a", None])
def test_what_is_no_array_is_told(exported, images):
    predictor = Predictor(exported / "bare")
    for function in (predictor.run, predictor.logits, predictor.probabilities):
        with pytest.raises(UserError, match=r"images: a NumPy array \[N, C, H, W\] is needed, found"):
            function(images)


@pytest.mark.parametrize(
    ("directory", "threads", "text"),
    [
        (None, None, "the folder of an exported model is needed, found None"),
        (3, None, "found 3"),
        ("a", 0, "threads: a whole number of at least 1 is needed, found 0"),
        ("a", "2", "threads: a whole number of at least 1 is needed, found '2'"),
    ],
)
def test_what_no_predictor_can_be_made_with_is_told(directory, threads, text):
    with pytest.raises(UserError, match=text):
        Predictor(directory, threads=threads)


def test_unreadable_image(exported, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        list(Predictor(exported / "logits").classify([tmp_path / "broken.jpg"]))
    with pytest.raises(UserError, match=r"broken\.jpg"):
        Predictor(exported / "logits").predict([tmp_path / "broken.jpg"])


def test_a_single_image_by_itself(exported, pictures):
    paths, arrays = pictures
    predictor = Predictor(exported / "probabilities")
    expected = predictor.predict(paths[:1])
    assert [answer["label_name"] for answer in expected] == ["red"]
    for image in (str(paths[0]), paths[0], arrays[0], (str(paths[0]),), iter(paths[:1]), np.stack(arrays[:1])):
        assert predictor.predict(image) == expected
    assert list(predictor.classify(str(paths[0]))) == list(predictor.classify(paths[:1]))
    assert predictor.predict([]) == []


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (3, "3"),
        ([None], "None"),
        ([b"bytes"], "b'bytes'"),
        (np.zeros([8, 8, 3], np.float32), r"float32 \[8, 8, 3\]"),
        ([np.zeros([3], np.uint8)], r"uint8 \[3\]"),
    ],
)
def test_what_is_no_image_is_told(exported, images, found):
    with pytest.raises(UserError, match=f"images: .* needed, found {found}"):
        Predictor(exported / "probabilities").predict(images)


def test_a_post_processing_that_reads_other_scores_is_refused(exported, pictures):
    predictor = Predictor(exported / "logits")
    with pytest.raises(UserError, match=r"PostProcess: PersonAttribute reads 26 scores, but there are 3"):
        list(predictor.classify(pictures[0], post_process=POST_PROCESSES.get("PersonAttribute")()))
    with pytest.raises(UserError, match=r"PostProcess: default_label_index is 7, but there are 3 classes"):
        list(predictor.classify(pictures[0], post_process=ThreshOutput(threshold=0.5, default_label_index=7)))


def test_names_for_another_number_of_classes_are_refused(tmp_path, pictures):
    export(Brightest(), tmp_path, preprocess=OPS, image_shape=SHAPE, class_names=NAMES[:2])
    predictor = Predictor(tmp_path)
    for answers in (lambda: list(predictor.classify(pictures[0])), lambda: predictor.predict(list(pictures[0]))):
        with pytest.raises(UserError, match=r"PostProcess: label_list holds 2 names, but there are 3 classes"):
            answers()
