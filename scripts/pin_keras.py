"""As pin_reference.py, for code of TensorFlow, which runs inside of torch's autograd under our names.

    TF_USE_LEGACY_KERAS=1 python scripts/pin_keras.py NAME CHECKOUT

needs tensorflow and tf_keras besides.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Mapping
from typing import Any

import torch
from pin_reference import Recipe, main
from torch import Tensor, nn

_RULES = (  # from the names of Keras to ours
    (r"^(image_tape_denoiser/)+", ""), (r"_pos_emb/kernel/vis_pos_embedding$", "_pos_emb"),
    (r"(read|write)_unit_(\d+)/transformer_decoder_layer", r"rounds/\2/\1"),
    (r"latent_processing_unit(\d+)/transformer_encoder(?:_(\d+))?/", lambda m: f"rounds/{m[1]}/compute/{m[2] or 0}/"),
    (r"(cross_)?mha/ln", "norm"), (r"(cross_)?mha/", "attn/"), (r"attention_output", "out"), (r"ffn/ln", "norm"),
    (r"ffn/(dense)", r"\1"), (r"gamma$|kernel$", "weight"), (r"beta$", "bias"), ("/", "."),
)  # fmt: skip


def renamed(path: str) -> str:
    for pattern, ours in _RULES:
        path = re.sub(pattern, ours, path)
    return path


class _Run(torch.autograd.Function):
    """The network's variables are set to the tensors behind the inputs."""

    @staticmethod
    def forward(ctx: Any, model: Any, count: int, *tensors: Tensor) -> Any:
        tf = model.tf
        ctx.tf, ctx.read = tf, [tf.Variable(t.detach().numpy()) for t in tensors[:count]]
        for variable, value in zip(model.variables, tensors[count:], strict=True):
            variable.assign(value.detach().numpy())
        with tf.GradientTape() as ctx.tape:
            ctx.made = model.apply(*ctx.read)
        ctx.read += model.variables
        return tuple(torch.from_numpy(out.numpy()) for out in ctx.made)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        given = [ctx.tf.constant(g.numpy()) for g in gradients]
        found = ctx.tape.gradient(ctx.made, ctx.read, given, unconnected_gradients="zero")
        return (None, None, *(torch.from_numpy(ctx.tf.convert_to_tensor(g).numpy()) for g in found))


def _ours(value: Tensor, theirs: str) -> Tensor:
    """A Keras variable as torch has it."""
    if value.dim() == 4:
        return value.permute(3, 2, 0, 1)
    if "alpha" in theirs:
        return value.flatten()
    if "attention_output/kernel" in theirs:
        return value.flatten(0, 1).T
    if re.search("/(query|key|value)/", theirs):
        return value.flatten(1).T if value.dim() == 3 else value.flatten()
    return value.T if "/kernel:" in theirs else value


def _theirs(value: Tensor, shape: Any, theirs: str) -> Tensor:
    if value.dim() == 4:
        return value.permute(2, 3, 1, 0)
    return (value.T if value.dim() == 2 and "/kernel:" in theirs else value).reshape(tuple(shape))


class Network(nn.Module):
    """A network of Keras: `apply` runs it, on images with their channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.tf: Any = importlib.import_module("tensorflow")
        self.tf.keras.backend.set_floatx("float64")

    def hold(self, variables: Mapping[str, Any]) -> None:
        """Makes its variables parameters, under these keys."""
        self.keys, self.variables = list(variables), list(variables.values())
        for key, v in variables.items():
            module: nn.Module = self
            *path, last = key.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]  # type: ignore[assignment]
            module.register_parameter(last, nn.Parameter(_ours(torch.from_numpy(v.numpy()), v.name).contiguous()))

    def forward(self, *inputs: Tensor) -> Any:
        mine = dict(self.named_parameters())
        pairs = zip(self.keys, self.variables, strict=True)
        return _Run.apply(self, len(inputs), *inputs, *(_theirs(mine[key], v.shape, v.name) for key, v in pairs))


class Interface(Network):
    def __init__(self) -> None:
        super().__init__()
        double = types.ModuleType("tensorflow")
        double.__dict__.update(self.tf.__dict__ | {"float32": self.tf.float64})
        double.__getattr__ = lambda name: getattr(self.tf, name)  # type: ignore[method-assign]
        two = self.tf.constant(2, self.tf.float64)  # its gelu takes the root in single precision
        exact = {"gelu": lambda x: x / two * (1 + self.tf.math.erf(x / self.tf.sqrt(two)))}
        double.__dict__["nn"] = types.SimpleNamespace(**self.tf.nn.__dict__ | {"silu": self.tf.nn.silu} | exact)
        for name in ("resnet", "convnet_blocks", "transunet"):
            stub = sys.modules[f"architectures.{name}"] = types.ModuleType(name)
            stub.__dict__.update(DepthwiseConvBlock=None, ScalarEmbedding=None)
        blocks: Any = importlib.import_module("architectures.transformers")
        code: Any = importlib.import_module("architectures.tape")
        blocks.tf = code.tf = double
        code.ScalarEmbedding = blocks.ScalarEmbedding
        self.net = code.ImageTapeDenoiser(
            num_layers="2,1",
            latent_slots=5,
            latent_dim=16,
            latent_mlp_ratio=2,
            latent_num_heads=2,
            tape_dim=8,
            tape_mlp_ratio=2,
            rw_num_heads=2,
            image_height=8,
            image_width=8,
            image_channels=3,
            patch_size=4,
            drop_units=0.0,
            self_cond="latent",
            time_on_latent=True,
            cond_on_latent_n=1,
        )
        shapes = [(1, 3, 8, 8), (1,), (1, 3), (1, 5, 16)]
        self.apply(*(self.tf.zeros(shape, self.tf.float64) for shape in shapes))
        self.hold({renamed(v.name.removesuffix(":0")): v for v in self.net.trainable_variables})

    def apply(self, image: Any, time: Any, label: Any, before: Any) -> Any:
        last = self.tf.transpose(image, [0, 2, 3, 1])
        out, latent, _ = self.net((last, before, self.tf.zeros([0])), self.tf.reshape(time, [-1, 1]), label, False)
        return self.tf.transpose(out, [0, 3, 1, 2]), latent


class Upscaler(Network):
    """Without its biases, which stay 0."""

    def __init__(self) -> None:
        super().__init__()
        flags = self.tf.compat.v1.flags
        flags.DEFINE_integer("scale", 2, "")
        code: Any = importlib.import_module("models.sesr")
        flags.FLAGS(["", "--int_features=8"])
        plain = {"quant_W": False, "quant_A": False, "gen_tflite": False, "mode": "train"}
        self.net = code.SESR(feature_size=24, m=3, LinearBlock_fn=code.model_utils.LinearBlock_e, **plain)
        self.apply(self.tf.zeros((1, 1, 8, 8), self.tf.float64))
        parts = {"stem": self.net.input_block, "head": self.net.output_block}
        parts |= {f"blocks.{i}.linear": block for i, block in enumerate(self.net.linear_blocks)}
        variables: dict[str, Any] = {}
        for path, part in parts.items():
            wide, narrow = part.block.layers
            variables |= {f"{path}.expand.weight": wide.kernel, f"{path}.project.weight": narrow.kernel}
        self.hold(variables | {f"blocks.{i}.act.weight": act.alpha for i, act in enumerate(self.net.activations)})

    def apply(self, image: Any) -> Any:
        return (self.tf.transpose(self.net(self.tf.transpose(image, [0, 2, 3, 1])), [0, 3, 1, 2]),)


RECIPES = {
    "rin": Recipe(
        "github google-research/pix2seq, architectures/tape.py", Interface, "rin.arch", "rin",
        {"size": 8, "patch": 4, "depths": [2, 1], "slots": 5, "latent": 16, "interface": 8, "heads": 2, "ratio": 2,
         "classes": 3},
        [[2, 3, 8, 8], [2], [2, 3], [2, 5, 16]],
    ),
    "sesr": Recipe(
        "github ARM-software/sesr, models/sesr.py", Upscaler, "sesr.arch", "sesr",
        {"blocks": 3, "width": 8, "inner": 24}, [[2, 1, 9, 12]],
    ),
}  # fmt: skip


if __name__ == "__main__":
    main(RECIPES, *sys.argv[1:])
