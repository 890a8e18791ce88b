import os

import numpy as np
import pytest

from ppcls_compress import machine

X86 = "processor\t: 0\nmodel name\t: Some CPU: 3 GHz\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\nmodel name\t: Another\n"

AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.fixture
def info(tmp_path):
    def write(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("flags", ["avx512_vnni avx512_bf16", "avx_vnni"])
def test_a_processor_with_int8_dot_products_needs_no_note(info, flags):
    assert machine.int8_note(info(X86.format(flags=flags))) is None


def test_a_processor_without_them_gets_one(info):
    assert "neither avx512_vnni nor avx_vnni" in machine.int8_note(info(X86.format(flags="avx2")))


def test_arm_names_its_features_differently(info):
    assert machine.int8_note(info("Features\t: fp asimd asimddp\n")) is None


def test_a_system_that_tells_nothing(tmp_path):
    assert "does not tell" in machine.int8_note(tmp_path / "nothing")
    assert machine.cpu_name(tmp_path / "nothing")


def test_name_and_bfloat16(info):
    path = info(X86.format(flags="avx512_bf16"))
    assert machine.cpu_name(path) == "Some CPU: 3 GHz"
    assert machine.has_bfloat16(path)
    assert not machine.has_bfloat16(info(X86.format(flags="avx512_vnni")))


@pytest.mark.parametrize(
    ("maker", "flags", "kind"),
    [
        ("AuthenticAMD", f"avx2 fma {AVX512}", "7"),
        ("AuthenticAMD", "avx2 fma", "5"),
        ("AuthenticAMD", "avx2 fma avx512f", "5"),  # not all that the code for AVX-512 takes for granted
        ("AuthenticAMD", "avx", None),
        ("HygonGenuine", "avx2 fma", "5"),
        ("GenuineIntel", f"avx2 fma {AVX512}", None),
    ],
)
def test_products_of_matrices_use_what_a_processor_has(info, monkeypatch, maker, flags, kind):
    path = info(f"vendor_id\t: {maker}\n{X86.format(flags=flags)}")
    monkeypatch.delenv(machine.KERNELS, raising=False)
    machine.let_paddle_use_it(path)
    assert os.environ.get(machine.KERNELS) == kind
    monkeypatch.setenv(machine.KERNELS, "4")
    machine.let_paddle_use_it(path)
    assert os.environ[machine.KERNELS] == "4", "what the user has set was replaced"


def test_a_system_that_tells_nothing_keeps_its_products(tmp_path):
    assert machine.matrix_kernels(tmp_path / "nothing") is None


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 129, 65), (64, 147, 200), (257, 1024, 33)])
def test_products_of_matrices_are_right_with_the_kernels_of_this_machine(shape):
    paddle = pytest.importorskip("paddle")
    rows, inner, columns = shape
    random = np.random.default_rng(0)
    left, right = random.standard_normal((rows, inner)), random.standard_normal((inner, columns))
    found = paddle.matmul(paddle.to_tensor(left, "float32"), paddle.to_tensor(right, "float32")).numpy()
    np.testing.assert_allclose(found, left @ right, rtol=0, atol=1e-6 * inner)
