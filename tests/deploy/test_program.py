import paddle
import pytest
from paddle import nn

from ppcls_compress.deploy.paddle.inference import leaks, resizes, rounds_constants
from ppcls_compress.deploy.program import Program, inputs, kind, outputs
from ppcls_compress.errors import UserError
from ppcls_compress.slim.tracing import save_program


class Choosing(nn.Layer):
    """A leaky ReLU in a block that runs for some images only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 1)

    def forward(self, images):
        found = self.conv(images)
        if found.mean() > 0:
            found = nn.functional.leaky_relu(found)
        return found


def saved(folder, model):
    model.eval()
    save_program(model, str(folder / "model"), [paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")])
    return Program.read(folder / "model.json")


def made(*operators):
    """A program of (kind, values read, values given)."""
    listed = [
        {"#": f"1.{name}", "A": [], "I": [{"%": item} for item in reads], "O": [{"%": item} for item in gives]}
        for name, reads, gives in operators
    ]
    return Program({"program": {"regions": [{"blocks": [{"ops": listed}]}]}})


def test_inner_blocks_count(tmp_path):
    program = saved(tmp_path, Choosing())
    assert {"conv2d", "leaky_relu"} <= program.kinds()
    assert "leaky_relu" not in map(kind, program.operators)
    assert leaks(program)


def test_what_a_program_of_paddle_reads_and_gives(tmp_path):
    program = saved(tmp_path, nn.Sequential(nn.Conv2D(3, 4, 1), nn.Upsample(scale_factor=2)))
    given = [number for op in program.operators for number in outputs(op)]
    assert len(set(given)) == len(given)
    assert max(given) < program.fresh()
    (parameter, *_) = [op for op in program.operators if kind(op) == "p"]
    assert inputs(parameter) == []
    (resizing,) = [op for op in program.operators if kind(op) == "nearest_interp"]
    assert inputs(resizing)[1:] == [0, 0, 0]
    assert resizes(program)


def test_what_works_in_place_is_known_by_the_same_name():
    assert leaks(made(("data", [], [1]), ("leaky_relu_", [1], [2])))
    assert not leaks(made(("data", [], [1]), ("relu_", [1], [2])))


@pytest.mark.parametrize(
    ("reads", "constant"),
    [([1, 0], False), ([2, 0], True), ([3, 2], False)],
    ids=["images", "a table", "what follows from images"],
)
def test_rounding_of_what_follows_from_no_image_is_noticed(reads, constant):
    rounding = ("fake_quantize_dequantize_moving_average_abs_max_", reads, [4])
    program = made(("data", [], [1]), ("full", [], [2]), ("add", [1, 0], [3]), rounding)
    assert rounds_constants(program) == constant


@pytest.mark.parametrize("content", ["{}", '{"program": {"regions": []}}', "[]", "no JSON"])
def test_another_file_is_told(tmp_path, content):
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(UserError, match=r"model\.json: (holds no program of PaddlePaddle 3|not a JSON file)"):
        Program.read(tmp_path / "model.json")
