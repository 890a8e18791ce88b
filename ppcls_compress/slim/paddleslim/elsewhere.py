"""Names of PaddleSlim 2.6.0 that this package lacks, and what to use: all public ones of `paddleslim.dygraph` and
`paddleslim.analysis`, and those of its other packages that programs import most."""

from __future__ import annotations

from collections.abc import Mapping

_QUANTIZER = "PTQ takes the name of the quantizer as a text: PTQ(activation_quantizer={name!r})"
_WEIGHTS = "PTQ takes the name of the quantizer as a text: PTQ(weight_quantizer={name!r})"
_REPARAMETRIZED = (
    "re-parametrized branches are no part of it; train them with PaddleSlim, let it merge them, and give the merged "
    "network to a pruner or to QAT"
)
_DISTILLATION = "distillation from a teacher is the section Slim.distill of ppcls-compress train"
_UNSTRUCTURED = (
    "single weights that are zero make no network smaller or faster here; FPGMFilterPruner, L1NormFilterPruner and "
    "L2NormFilterPruner remove whole filters"
)
_LATENCY = (
    "latency is measured, not predicted: ppcls-compress benchmark, or ppcls_compress.deploy.measure.latency.measure"
)
_SEARCH = (
    "ppcls-compress compress searches the network that keeps a contract (Slim.auto); ppcls-compress quantize --model "
    "quantizes an exported model, and reads PaddleSlim's YAML by --act"
)
_EXPORTED = (
    "ppcls-compress quantize --model quantizes an exported model on images; from a configuration, "
    "ppcls-compress quantize -c"
)
_TRAINED = (
    "QAT(config).quantize(model) prepares a network for training; from a configuration, Slim.quant of "
    "ppcls-compress train"
)
_CURVES = (
    "FilterPruner.sensitive measures, and sensitive_prune picks ratios; from a configuration, "
    "ppcls-compress sensitivity"
)
_STATIC = "it reads Paddle's old static programs; "

INSTEAD: Mapping[str, str] = {
    "ACBRepConfig": _REPARAMETRIZED,
    "ACBlock": _REPARAMETRIZED,
    "AbsmaxQuantizer": _QUANTIZER.format(name="AbsmaxQuantizer"),
    "AutoCompression": _SEARCH,
    "BaseRepConfig": _REPARAMETRIZED,
    "DBBRepConfig": _REPARAMETRIZED,
    "Distill": _DISTILLATION,
    "DiverseBranchBlock": _REPARAMETRIZED,
    "DygraphPruningCollections": "a pruner finds them itself: FPGMFilterPruner(model, inputs).collections",
    "GMPUnstructuredPruner": _UNSTRUCTURED,
    "HistQuantizer": _QUANTIZER.format(name="HistQuantizer"),
    "KLQuantizer": _QUANTIZER.format(name="KLQuantizer"),
    "LatencyEvaluator": _LATENCY,
    "LatencyPredictor": _LATENCY,
    "OFA": _SEARCH,
    "PerChannelAbsmaxQuantizer": _WEIGHTS.format(name="PerChannelAbsmaxQuantizer"),
    "Pruner": "a criterion of your own is a subclass of FilterPruner that defines cal_mask",
    "RepVGGBlock": _REPARAMETRIZED,
    "RepVGGConfig": _REPARAMETRIZED,
    "Reparameter": _REPARAMETRIZED,
    "SlimRepBlock": _REPARAMETRIZED,
    "SlimRepConfig": _REPARAMETRIZED,
    "TableLatencyEvaluator": _LATENCY,
    "TableLatencyPredictor": _LATENCY,
    "UnstructuredPruner": _UNSTRUCTURED,
    "config2yaml": _DISTILLATION,
    "flops": f"{_STATIC}dygraph_flops(model, inputs, only_conv=True) counts a layer",
    "get_key_from_op": _LATENCY,
    "get_ratios_by_loss": _CURVES,
    "load_sensitivities": f"Status(file).sensitivies holds them; {_CURVES}",
    "make_unstructured_pruner": _UNSTRUCTURED,
    "merge_sensitive": _CURVES,
    "model_size": f"{_STATIC}ppcls_compress.slim.cost.count(model, inputs).params counts the parameters of a layer",
    "quant_aware": _TRAINED,
    "quant_post_dynamic": _EXPORTED,
    "quant_post_static": _EXPORTED,
    "save_cls_model": (
        "ppcls-compress export_model exports classifiers, save_quantized_model of QAT and PTQ what they made"
    ),
    "save_det_model": "detectors are written by save_quantized_model of QAT and PTQ, or by paddle.jit.save",
    "sensitivity": _CURVES,
    "yaml2config": _DISTILLATION,
}
"""Name -> what to use instead."""
