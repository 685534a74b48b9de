"""Batch norms folded into the convolutions before them: the same network in half the passes over memory."""

from __future__ import annotations

import torch
from torch import nn


def fold_batch_norm(model: nn.Module) -> int:
    """Fold every batch norm that follows a convolution into it, in place; return how many were.

    In evaluation both are linear, so one convolution with other weights does the work of two passes
    over memory. torch.fx finds which follows which; a model it cannot trace is left as it is.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    norms = (nn.BatchNorm2d,)

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
            return isinstance(m, (*norms, nn.Conv2d)) or super().is_leaf_module(m, qualified_name)

    try:
        graph = Tracer().trace(model)
    except Exception:  # control flow that depends on data; such a model runs unfolded
        return 0
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    folded = 0
    for node in calls:
        norm, before = modules[str(node.target)], node.args[0]
        if not isinstance(norm, norms) or before.op != "call_module" or len(before.users) != 1:
            continue
        conv = modules[str(before.target)]
        shared = sum(call.target in (node.target, before.target) for call in calls) != 2
        # A subclass of Conv2d may do more than convolve (padding as TensorFlow does is fine: same weights).
        if shared or not isinstance(conv, nn.Conv2d) or norm.running_mean is None:
            continue
        fused = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = fused.weight, fused.bias
        # timm's BatchNormAct2d also activates: that part stays.
        rest = [part for key in ("drop", "act") if (part := getattr(norm, key, None)) is not None]
        _replace(model, str(node.target), nn.Sequential(*rest))
        folded += 1
    return folded


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
