"""Distillation of features by attention beside its formulas, written out in NumPy."""

import numpy as np
import paddle
import pytest
from pydantic import ValidationError

from ppcls_compress.errors import UserError
from ppcls_compress.losses.attention import AFDLoss

RNG = np.random.default_rng(0)
S_SHAPES, T_SHAPES = [(4, 6, 6), (5, 2, 2)], [(3, 4, 4), (6, 2, 2), (7, 2, 2)]
OPTIONS = {
    "s_shapes": S_SHAPES,
    "t_shapes": T_SHAPES,
    "student_features": ["s0", "s1"],
    "teacher_features": ["t0", "t1", "t2"],
    "qk_dim": 8,
}
STUDENT = {f"s{i}": RNG.standard_normal((2, *shape)).astype("float32") for i, shape in enumerate(S_SHAPES)}
TEACHER = {f"t{i}": RNG.standard_normal((2, *shape)).astype("float32") for i, shape in enumerate(T_SHAPES)}


def output(student=STUDENT, teacher=TEACHER):
    given = {"Student": student, "Teacher": teacher}
    return {name: {key: paddle.to_tensor(x) for key, x in maps.items()} for name, maps in given.items()}


def normed(rows, layer):
    linear, _ = layer
    rows = rows @ linear.weight.numpy() + linear.bias.numpy()
    return (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)


def energy(feature_map, size):
    squares = (feature_map**2).mean(1)
    count, height, width = squares.shape
    edges = [(i * height // size[0], -(-(i + 1) * height // size[0])) for i in range(size[0])]
    columns = [(i * width // size[1], -(-(i + 1) * width // size[1])) for i in range(size[1])]
    means = [[squares[:, a:b, c:d].mean((1, 2)) for c, d in columns] for a, b in edges]
    rows = np.array(means).transpose(2, 0, 1).reshape(count, -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_each_map_of_the_teacher_is_compared_with_the_students_as_attention_weighs_them():
    paddle.seed(0)
    layer = AFDLoss(**OPTIONS).build()
    found = layer(output(), None, None)
    queries = [normed(x.mean((2, 3)), part) for x, part in zip(TEACHER.values(), layer.query_layer, strict=True)]
    keys = [normed(x.mean((2, 3)), part).clip(0) for x, part in zip(STUDENT.values(), layer.key_layer, strict=True)]
    rows = normed(np.stack(keys, 1).reshape(-1, 8), layer.bilinear).reshape(2, 2, 3, 8)
    fit = np.einsum("bstq,btq->bts", rows, np.stack(queries, 1)) + layer.p_t.numpy() @ layer.p_s.numpy().T
    weights = np.exp(fit / np.sqrt(8))
    weights /= weights.sum(2, keepdims=True)
    expected = 0.0
    for index, target in enumerate(TEACHER.values()):
        size = target.shape[2:]
        for other, own in enumerate(STUDENT.values()):
            apart = ((energy(own, size) - energy(target, size)) ** 2).mean(1)
            expected += (apart * weights[:, index, other]).mean()
    assert float(found["loss_afd"]) == pytest.approx(expected, rel=1e-4)


def test_the_student_and_what_compares_learn():
    layer = AFDLoss(**OPTIONS).build()
    given = output()
    given["Student"]["s0"].stop_gradient = False
    layer(given, None, None)["loss_afd"].backward()
    assert float(given["Student"]["s0"].grad.abs().sum()) > 0
    assert all(parameter.grad is not None for parameter in layer.parameters() if not parameter.stop_gradient)


def test_maps_of_other_shapes_are_told():
    layer = AFDLoss(**{**OPTIONS, "s_shapes": [(4, 6, 6), (5, 3, 3)]}).build()
    with pytest.raises(UserError, match=r"AFDLoss.s_shapes: Student gives \[5, 2, 2\] as s1, and \[5, 3, 3\] is expe"):
        layer(output(), None, None)
    with pytest.raises(ValidationError, match="t_shapes has 2 shapes, for 3 maps of the teacher"):
        AFDLoss(**{**OPTIONS, "t_shapes": T_SHAPES[:2]})


def test_maps_keep_their_channels():
    loss = AFDLoss(**OPTIONS)
    assert loss.counts_on("Student") == ("s0", "s1")
    assert loss.counts_on("Teacher") == ("t0", "t1", "t2")
    assert loss.counts_on("Other") == ()
