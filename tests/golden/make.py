"""Writes the reference values in this folder with PyTorch, all but those that `curvature.py` and `sequences.py` write.

    pip install torch numpy safetensors
    python3 tests/golden/make.py

The files here were made with PyTorch 2.15.0, safetensors 0.8.0 and Python 3.11 on the CPU.

Inputs are drawn in float32 with fixed seeds, so they are the same numbers in every precision; results are computed
from them in float64 and rounded once, when they are stored as float32. Layouts are Hillshade's, channels last:
activations [n, h, w, c], convolution weights [kh, kw, ci / groups, co], labels as float32.
A cotangent is called `ct`; `dx` is the gradient of sum(ct * y) with respect to x. Settings are in the files' metadata.
"""

import json
import pathlib
import struct

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

FOLDER = pathlib.Path(__file__).resolve().parent


def normal(generator, *shape, scale=1.0):
    """Normal draws, rounded to float32, as float64."""
    return (torch.randn(*shape, generator=generator) * scale).double()


def channels_first(x):
    """[n, h, w, c] → [n, c, h, w]"""
    return x.permute(0, 3, 1, 2)


def channels_last(x):
    """[n, c, h, w] → [n, h, w, c]"""
    return x.permute(0, 2, 3, 1)


def write(name, tensors, metadata, dtype=torch.float32):
    """Stores tensors of one type under sorted header keys, so that the same values give the same bytes; reads them
    back."""
    tensors = {key: value.detach().to(dtype).contiguous() for key, value in tensors.items()}
    text = save(tensors, metadata=metadata)
    (length,) = struct.unpack("<Q", text[:8])
    header = json.dumps(json.loads(text[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    path = FOLDER / f"{name}.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + text[8 + length :])

    with safe_open(path, framework="pt") as file:
        assert file.metadata() == metadata, path
        assert set(file.keys()) == set(tensors), path
        for key, value in tensors.items():
            stored = file.get_tensor(key)
            assert stored.dtype == dtype and torch.equal(stored, value), (path, key)
            assert stored.isfinite().all(), (path, key)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def conv2d():
    """y = conv2d(x, w) + b and the three gradients."""
    # n, h, w, ci, co, (kh, kw), stride, padding, dilation, groups
    cases = [
        (2, 9, 7, 3, 5, (3, 2), (2, 1), (1, 0), (1, 2), 1),  # everything differs per axis; an even kernel
        (3, 8, 5, 6, 4, (1, 1), (2, 2), (0, 0), (1, 1), 1),  # a strided projection: pixels that nothing reads
        (2, 6, 7, 6, 9, (3, 3), (1, 2), (2, 1), (1, 1), 3),  # groups; padding wider than half the kernel
        (2, 9, 7, 7, 7, (5, 3), (2, 1), (2, 1), (1, 1), 7),  # depthwise
        (1, 11, 8, 4, 8, (3, 2), (3, 2), (3, 0), (2, 3), 4),  # depthwise, two outputs per channel; dilated
        (1, 11, 10, 17, 33, (3, 3), (1, 1), (1, 1), (1, 1), 1),  # one more than a tile
    ]
    tensors, metadata = {}, {}
    for index, (n, h, w, ci, co, kernel, stride, padding, dilation, groups) in enumerate(cases):
        generator = torch.Generator().manual_seed(100 + index)
        x = normal(generator, n, h, w, ci).requires_grad_()
        weight = normal(generator, *kernel, ci // groups, co, scale=0.5).requires_grad_()
        bias = normal(generator, co).requires_grad_()
        y = channels_last(
            functional.conv2d(
                channels_first(x), weight.permute(3, 2, 0, 1), bias, stride, padding, dilation, groups
            )
        )
        ct = normal(generator, *y.shape)
        dx, dw, db = torch.autograd.grad(y, (x, weight, bias), ct)
        values = {"x": x, "w": weight, "b": bias, "ct": ct, "y": y, "dx": dx, "dw": dw, "db": db}
        tensors |= {f"case{index}.{key}": value for key, value in values.items()}
        metadata[f"case{index}"] = (
            f"stride={stride[0]},{stride[1]} padding={padding[0]},{padding[1]} "
            f"dilation={dilation[0]},{dilation[1]} groups={groups}"
        )
    write("conv2d", tensors, metadata)


def batch_norm():
    """Three training batches, the running statistics after each, then one batch in evaluation mode."""
    momentum, eps, shape = 0.1, 1e-5, (5, 3, 4, 6)
    generator = torch.Generator().manual_seed(200)
    channels = shape[-1]
    gamma = (1 + normal(generator, channels, scale=0.5)).float().double().requires_grad_()
    beta = normal(generator, channels).requires_grad_()
    # Channels differ in location and scale; the first sits far from zero, where a variance can cancel.
    location = torch.tensor([30.0, -1.0, 0.0, 0.5, 2.0, -4.0])
    scale = torch.tensor([1.0, 0.1, 3.0, 1.0, 0.5, 2.0])
    running_mean = torch.zeros(channels, dtype=torch.float64)
    running_var = torch.ones(channels, dtype=torch.float64)

    tensors = {"gamma": gamma, "beta": beta}
    for name in ["batch0", "batch1", "batch2", "eval"]:
        drawn = torch.randn(*shape, generator=generator) * scale + location
        x = drawn.double().requires_grad_()
        training = name != "eval"
        y = channels_last(
            functional.batch_norm(channels_first(x), running_mean, running_var, gamma, beta, training, momentum, eps)
        )
        ct = normal(generator, *shape)
        dx, dgamma, dbeta = torch.autograd.grad(y, (x, gamma, beta), ct)
        values = {"x": x, "ct": ct, "y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
        if training:
            values |= {"running_mean": running_mean.clone(), "running_var": running_var.clone()}
        tensors |= {f"{name}.{key}": value for key, value in values.items()}
    metadata = {"momentum": str(momentum), "eps": str(eps), "running_var": "unbiased"}
    write("batch_norm", tensors, metadata)


def layer_norm():
    """Layer normalization and that by the root of the mean square, of the same [3, 4, 10]."""
    eps, shape = 1e-5, (3, 4, 10)
    generator = torch.Generator().manual_seed(500)
    # Rows differ in location and scale.
    scale = torch.logspace(-1, 1, 4)[:, None]
    x = (torch.randn(*shape, generator=generator) * scale + 3 * scale).double().requires_grad_()
    gamma = (1 + normal(generator, 10, scale=0.5)).float().double().requires_grad_()
    beta = normal(generator, 10).requires_grad_()
    ct = normal(generator, *shape)
    tensors = {"x": x, "gamma": gamma, "beta": beta, "ct": ct}
    y = functional.layer_norm(x, (10,), gamma, beta, eps)
    dx, dgamma, dbeta = torch.autograd.grad(y, (x, gamma, beta), ct)
    values = {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
    tensors |= {f"layer.{key}": value for key, value in values.items()}
    y = functional.rms_norm(x, (10,), gamma, eps)
    dx, dgamma = torch.autograd.grad(y, (x, gamma), ct)
    tensors |= {f"rms.{key}": value for key, value in {"y": y, "dx": dx, "dgamma": dgamma}.items()}
    write("layer_norm", tensors, {"eps": str(eps)})


def attention():
    """y, its gradients, and the Hessian of sum(ct * y) times (vq, vk, vv); [n, length, heads, d]."""
    # n, t, s, heads, kv_heads, d, causal, lengths
    cases = [
        (2, 5, 9, 4, 2, 6, False, [9, 4]),  # groups of two heads; padding
        (2, 4, 7, 3, 3, 8, True, [7, 5]),  # the queries are the last of the sequence
        (1, 35, 35, 2, 1, 4, True, [35]),  # one more than a tile, and then some
    ]
    tensors, metadata = {}, {}
    for index, (n, t, s, heads, kv_heads, d, causal, lengths) in enumerate(cases):
        generator = torch.Generator().manual_seed(600 + index)
        shapes = [(n, t, heads, d), (n, s, kv_heads, d), (n, s, kv_heads, d)]
        operands = [normal(generator, *shape).requires_grad_() for shape in shapes]
        ct = normal(generator, *shapes[0])
        direction = [normal(generator, *shape) for shape in shapes]
        key, query = torch.arange(s), torch.arange(t)[:, None]
        seen = (key < torch.tensor(lengths)[:, None])[:, None, None, :].expand(n, 1, t, s)
        if causal:
            seen = seen & (key <= query + s - t)
        assert seen.any(-1).all()
        by_head = [x.permute(0, 2, 1, 3) for x in operands]
        by_head[1:] = [x.repeat_interleave(heads // kv_heads, 1) for x in by_head[1:]]
        with sdpa_kernel(SDPBackend.MATH):
            y = functional.scaled_dot_product_attention(*by_head, attn_mask=seen, scale=0.7).permute(0, 2, 1, 3)
        gradient = torch.autograd.grad(y, operands, ct, create_graph=True)
        product = torch.autograd.grad(gradient, operands, direction)
        values = dict(zip("qkv", operands)) | {"ct": ct, "y": y, "lengths": torch.tensor(lengths)}
        for prefix, three in [("v", direction), ("d", gradient), ("h", product)]:
            values |= {prefix + letter: value for letter, value in zip("qkv", three)}
        tensors |= {f"case{index}.{key}": value for key, value in values.items()}
        metadata[f"case{index}"] = f"causal={causal} scale=0.7".lower()
    write("attention", tensors, metadata)


def cross_entropy():
    """Softmax cross-entropy of logits [7, 11]; the gradients are those of the mean loss."""
    generator = torch.Generator().manual_seed(300)
    logits = normal(generator, 7, 11, scale=3.0)
    labels = torch.randint(11, (7,), generator=generator)
    # One row far beyond exp's range, and its label not at the maximum: a loss of 20,000.
    logits[3] = 1e4 * torch.tensor([-1.0, 1, -1, 1, 1, -1, 1, -1, -1, 1, -1])
    labels[3] = 5
    logits.requires_grad_()
    losses = functional.cross_entropy(logits, labels, reduction="none")
    mean = losses.mean()
    (dlogits,) = torch.autograd.grad(mean, logits)
    tensors = {"logits": logits, "labels": labels, "losses": losses, "mean": mean.reshape(1), "dlogits": dlogits}
    write("cross_entropy", tensors, {"dlogits": "of the mean"})


def optimizers():
    """Ten steps of each rule from the same parameters along the same gradients; `<rule>.p` holds p after each step."""
    generator = torch.Generator().manual_seed(400)
    size, steps = 13, 10
    start = normal(generator, size)
    # Gradients from 1e-4 to 1e2 between parameters; the last parameter never gets one.
    gradients = (torch.randn(steps, size, generator=generator) * torch.logspace(-4, 2, size)).double()
    gradients[:, -1] = 0

    sgd = {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}
    adam = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    rules = {
        "sgd": ("sgd", sgd),
        "sgd_momentum": ("sgd", sgd | {"momentum": 0.9}),
        "sgd_nesterov": ("sgd", sgd | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        "sgd_decay": ("sgd", sgd | {"momentum": 0.9, "weight_decay": 0.01}),
        "adam": ("adam", adam),
        "adam_l2": ("adam", adam | {"weight_decay": 0.1}),
        "adamw": ("adamw", adam | {"weight_decay": 0.1}),
    }
    classes = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

    tensors, metadata = {"p0": start, "g": gradients}, {}
    for name, (kind, settings) in rules.items():
        metadata[name] = " ".join([f"kind={kind}"] + [f"{key}={value}".lower() for key, value in settings.items()])
        options = {key: value for key, value in settings.items() if not key.startswith("beta")}
        if kind != "sgd":
            options["betas"] = (settings["beta1"], settings["beta2"])
        parameter = torch.nn.Parameter(start.clone())
        optimizer = classes[kind]([parameter], **options)
        path = []
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
            path.append(parameter.detach().clone())
        tensors[f"{name}.p"] = torch.stack(path)
    write("optimizers", tensors, metadata)


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    conv2d()
    batch_norm()
    layer_norm()
    attention()
    cross_entropy()
    optimizers()
