import pytest

from ppcls_compress.deploy.measure import machine

X86 = "processor\t: 0\nmodel name\t: Some CPU: 3 GHz\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\nmodel name\t: Another\n"


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
