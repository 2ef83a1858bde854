"""The functions of torch that a recording knows, by name, and what it does with each.

| table | what it holds |
|---|---|
| SAME | hand on the values that they get, in another format at most |
| MOVES | move values about: they run on the numbers of the values as well |
| CONSTANTS | make a constant of a tensor's shape |
| READS | ask for a shape or a format, not for values |
| RANDOM | draw random numbers |
| PLAIN | operator and in-place forms, by the name of the plain function |
"""

from typing import Any

from torch import Tensor
from torch.overrides import resolve_name

__all__ = ["CONSTANTS", "HINTS", "JOINS", "MOVES", "PARAMETERS", "PLAIN", "RANDOM", "READS",
           "SAME", "UNKNOWN", "options", "plain_name"]

SAME = {"detach", "detach_", "clone", "contiguous", "to", "float", "double", "half", "bfloat16",
        "type", "cpu", "cuda", "requires_grad_", "type_as", "as_tensor", "alias", "bool", "int",
        "long", "short", "char", "byte", "data", "real", "positive", "__pos__"}
#: Functions that put tensors together; constants among them stay constants.
JOINS = {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack",
         "row_stack"}
MOVES = JOINS | {
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as",
    "ravel", "squeeze_", "unsqueeze_", "permute", "transpose", "swapaxes", "swapdims", "movedim",
    "moveaxis", "t", "T", "mT", "adjoint", "transpose_", "t_", "expand", "repeat", "expand_as",
    "tile", "broadcast_to", "broadcast_tensors", "repeat_interleave", "__getitem__", "select",
    "narrow", "index_select", "unbind", "split", "chunk", "tensor_split", "split_with_sizes",
    "gather", "take_along_dim", "flip", "fliplr", "flipud", "roll", "rot90", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "atleast_1d", "atleast_2d",
    "atleast_3d"}
CONSTANTS = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones",
             "new_full", "new_empty", "new_tensor"}
READS = {"size", "dim", "ndim", "ndimension", "numel", "nelement", "shape", "stride", "device",
         "dtype", "layout", "is_contiguous", "is_floating_point", "is_complex", "is_cuda",
         "is_sparse", "is_quantized", "is_meta", "is_cpu", "is_mps", "is_xpu", "is_mkldnn",
         "is_nested", "is_leaf", "is_inference", "is_same_size", "is_tensor", "is_neg", "is_conj",
         "is_storage", "requires_grad", "retains_grad", "grad", "grad_fn", "output_nr", "names",
         "_version", "__len__", "__hash__", "__repr__", "__str__", "__format__", "element_size",
         "itemsize", "nbytes", "get_device", "_is_view", "_base", "name", "__dir__",
         "storage_offset", "result_type", "has_names", "register_hook", "retain_grad",
         "_backward_hooks", "is_signed", "can_cast"}
RANDOM = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
          "bernoulli", "bernoulli_", "normal", "normal_", "poisson", "multinomial", "uniform_",
          "random_", "exponential_", "geometric_", "cauchy_", "log_normal_", "binomial",
          "gumbel_softmax", "rrelu", "rrelu_"}
PLAIN = {"__add__": "add", "__radd__": "add", "__iadd__": "add", "add_": "add",
         "__sub__": "sub", "__isub__": "sub", "sub_": "sub", "subtract": "sub",
         "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
         "mul_": "mul", "multiply": "mul", "__truediv__": "div", "__itruediv__": "div",
         "div_": "div", "divide": "div", "true_divide": "div", "__neg__": "neg",
         "neg_": "neg", "negative": "neg", "__and__": "logical_and", "__rand__": "logical_and",
         "bitwise_and": "logical_and", "logical_and_": "logical_and", "__matmul__": "matmul",
         "mm": "matmul", "__invert__": "logical_not", "bitwise_not": "logical_not",
         "max_pool2d_with_indices": "max_pool2d", "max_pool1d_with_indices": "max_pool1d",
         "dropout_": "dropout", "alpha_dropout": "dropout", "feature_dropout": "dropout",
         "dropout1d": "dropout", "dropout2d": "dropout", "feature_alpha_dropout": "dropout"}
#: Parameters after the first of the functions that are layers, in order.
PARAMETERS = {
    "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "max_pool1d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avg_pool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
                   "divisor_override"),
    "avg_pool1d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "adaptive_avg_pool2d": ("output_size",), "adaptive_avg_pool1d": ("output_size",),
    "linear": ("weight", "bias"), "matmul": ("weight",),
    "conv2d": ("weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv1d": ("weight", "bias", "stride", "padding", "dilation", "groups"),
    "batch_norm": ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    "dropout": ("p", "training", "inplace"),
    "mean": ("dim", "keepdim"), "sum": ("dim", "keepdim"), "max": ("dim", "keepdim"),
    "amax": ("dim", "keepdim")}

#: What to do without any other function.
UNKNOWN = "the array has no layer for it: train without it"
_NEURON = "the array has no layer for it: put spiking neurons there and train on"
_CURRENT = "the array has no layer for it: train without it, or with batch norm"
#: What to do without a function that the array has no layer for.
HINTS = {
    **dict.fromkeys(("relu", "relu_", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu",
                     "elu", "hardtanh", "softplus", "celu", "selu", "mish", "hardswish", "prelu",
                     "clamp", "clamp_", "clip", "gt", "ge", "lt", "le", "where", "heaviside",
                     "__gt__", "__ge__", "__lt__", "__le__", "greater", "less", "sign"), _NEURON),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm"), _CURRENT),
    **dict.fromkeys(("softmax", "log_softmax", "argmax"),
                    "the array has no layer for it: take it off, the answer of the layer before "
                    "has the same order"),
    **dict.fromkeys(("gru", "lstm", "rnn_tanh", "rnn_relu"),
                    "recurrent networks cannot be imported yet"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "interpolate"),
                    "transposed convolutions and upsampling cannot be imported yet"),
    "batch_norm": "it has no fixed weights: track_running_stats must be True, and training False",
    "pad": "the array has no layer for it: give the convolution behind it that padding",
    "dropout": "it is on in eval mode, too: give it training=self.training"}


def plain_name(func: Any) -> str:
    """The name of a function or of a tensor's attribute, without operator and in-place forms."""
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__", "__delete__"):
        attribute = (resolve_name(func) or "").removesuffix(f".{name}").rsplit(".", 1)[-1]
        name = attribute if name == "__get__" else f"{attribute}.{name}"
    if name.startswith("_") and name.lstrip("_") in PARAMETERS:
        name = name.lstrip("_")
    return PLAIN.get(name, name)


def options(name: str, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a function after its first one, by name."""
    named = dict(zip(PARAMETERS[name], args[1:], strict=False))
    aliases = {"axis": "dim", "mat2": "weight", "other": "weight"}
    named.update({aliases.get(key, key): value for key, value in kwargs.items()
                  if key not in ("input", "self", "dtype", "out")})
    return {key: value for key, value in named.items() if not (
        key == "stride" and (value is None or not isinstance(value, Tensor) and value in ((), [])))}
