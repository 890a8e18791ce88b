import pytest
from support.doubting import configured

from ppcls_compress.engine.doubts.bits import about_ranges


@pytest.mark.parametrize(
    ("quant", "told"),
    [
        ("{name: qat, activation_bits: 2}", None),
        ("{name: qat, activation_bits: 4, observed_range: largest}", None),
        ("{name: pact, activation_bits: 2, activation_quantize_type: range_abs_max}", None),
        ("{name: lsq, activation_bits: 2}", None),
        ("{name: qat, activation_bits: 2, observed_range: largest}", "activation_bits: 2 bits reach to the largest"),
        ("{name: qat, activation_bits: 3, activation_quantize_type: abs_max}", "(activation_quantize_type: abs_max)"),
        (
            "{name: qat, observed_range: largest, per_layer: [{layers: [fc], activation_bits: 2}]}",
            "Slim.quant.per_layer[0].activation_bits: 2 bits",
        ),
    ],
)
def test_few_bits_up_to_the_largest_value_of_a_batch_are_told(tmp_path, quant, told):
    doubts = list(about_ranges(configured(tmp_path, f"Slim.quant={quant}")))
    assert [told in line for line in doubts] == [True] if told else doubts == []
    assert list(about_ranges(configured(tmp_path))) == []
