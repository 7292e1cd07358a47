"""Writes `networks.safetensors`: outputs, losses and gradients of networks in PyTorch and torchvision.

    pip install torch torchvision numpy safetensors
    python3 tests/golden/networks.py

The file here was made with PyTorch 2.15.0, torchvision 0.29.2 and Python 3.11 on the CPU.

Nothing that goes into a network is stored: parameters, statistics and images come from `noise`, a formula that the tests
have too, by name and place, and are rounded to float32. Results are computed from them in float64, and rounded once when
they are stored. Of a gradient with more than 1,024 elements every k-th one is stored, and the norm of all.

Metadata: for each network its specification and the extents of its images; under `names …` the names and shapes of
torchvision's own state dictionaries.
"""

import json
import math

import numpy
import torch
import torchvision
from make import write
from torch import nn
from torch.nn import functional


def noise(name, count):
    """Numbers in [-1, 1), multiples of 2^-23: MurmurHash3's finalizer of the place, with FNV-1a of the name."""
    start = 0x811C9DC5
    for byte in name.encode():
        start = (start ^ byte) * 0x01000193 & 0xFFFFFFFF
    mask = numpy.uint64(0xFFFFFFFF)
    x = (numpy.arange(count, dtype=numpy.uint64) * numpy.uint64(0x9E3779B1) + numpy.uint64(start)) & mask
    x ^= x >> numpy.uint64(16)
    x = x * numpy.uint64(0x85EBCA6B) & mask
    x ^= x >> numpy.uint64(13)
    x = x * numpy.uint64(0xC2B2AE35) & mask
    x ^= x >> numpy.uint64(16)
    return (x >> numpy.uint64(8)).astype(numpy.float64) / 2**23 - 1


def value(name, shape):
    """A parameter or statistic, by the end of its name."""
    u = noise(name, math.prod(shape)).reshape(shape)
    if name.endswith("running_var"):
        u = 1 + 0.5 * numpy.abs(u)
    elif name.endswith(("bias", "running_mean")):
        u = 0.1 * u
    elif len(shape) == 1 or name.endswith("weight_g"):
        u = 1 + 0.25 * u
    else:
        u = u * math.sqrt(6 / (math.prod(shape) // shape[0]))
    return torch.from_numpy(u.astype(numpy.float32)).double()


class Standardized(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        mean = w.mean((1, 2, 3), keepdim=True)
        variance = w.var((1, 2, 3), unbiased=False, keepdim=True)
        return self._conv_forward(x, (w - mean) / (variance + 1e-5).sqrt(), self.bias)


class ChannelNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def group_norm(channels):
    groups = next((g for g in (32, 16, 8, 4, 2) if channels % g == 0 and channels // g >= 2), 1)
    return nn.GroupNorm(groups, channels)


class Style:
    """What the residual networks for small images are made of."""

    def __init__(self, norm=nn.BatchNorm2d, act=functional.relu, conv=nn.Conv2d, weight=lambda m: m, skip=True, scale=False):
        self.norm, self.act, self.kind, self.weight, self.skip, self.scale = norm, act, conv, weight, skip, scale

    def conv(self, ins, outs, kernel, stride):
        bias = self.norm is None
        return self.weight(self.kind(ins, outs, kernel, stride, kernel // 2, bias=bias))

    def bn(self, channels):
        return nn.Identity() if self.norm is None else self.norm(channels)


class Block(nn.Module):
    def __init__(self, s, ins, outs, stride):
        super().__init__()
        self.s = s
        self.conv1, self.bn1 = s.conv(ins, outs, 3, stride), s.bn(outs)
        self.conv2, self.bn2 = s.conv(outs, outs, 3, 1), s.bn(outs)
        if s.scale:
            self.scale = nn.Parameter(torch.ones(1))
        if s.skip and (stride > 1 or ins != outs):
            self.downsample = nn.Sequential(s.conv(ins, outs, 1, stride), s.bn(outs))

    def forward(self, x):
        y = self.bn2(self.conv2(self.s.act(self.bn1(self.conv1(x)))))
        if self.s.scale:
            y = y * self.scale
        if self.s.skip:
            y = y + (self.downsample(x) if hasattr(self, "downsample") else x)
        return self.s.act(y)


class Cifar(nn.Module):
    def __init__(self, blocks, width, s):
        super().__init__()
        self.s, ins = s, width
        self.conv1, self.bn1 = s.conv(3, width, 3, 1), s.bn(width)
        for stage in range(3):
            layers = []
            for block in range(blocks):
                layers.append(Block(s, ins, width << stage, 2 if stage and not block else 1))
                ins = width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = s.weight(nn.Linear(ins, 10))

    def forward(self, x):
        y = self.s.act(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.fc(y.mean((2, 3)))


class Narrow(torchvision.models.ResNet):
    """torchvision's, with another width and perhaps the stem for small images."""

    def __init__(self, block, layers, width, small, act=nn.ReLU):
        nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = nn.BatchNorm2d, width, 1, 1, 64
        self.conv1 = nn.Conv2d(3, width, *((3, 1, 1) if small else (7, 2, 3)), bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width * block.expansion, 10)
        for module in self.modules():
            if hasattr(module, "relu"):
                module.relu = act()


def vgg11(norm, classifier):
    cfg = [4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]
    net = torchvision.models.VGG(torchvision.models.vgg.make_layers(cfg, norm), 10, init_weights=False)
    net.avgpool, net.classifier = nn.Identity(), classifier
    return net


class WideBlock(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(ins), nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outs), nn.Conv2d(outs, outs, 3, 1, 1, bias=False)
        if ins != outs:
            self.convShortcut = nn.Conv2d(ins, outs, 1, stride, bias=False)

    def forward(self, x):
        ready = functional.relu(self.bn1(x))
        y = self.conv2(functional.relu(self.bn2(self.conv1(ready))))
        return y + (self.convShortcut(ready) if hasattr(self, "convShortcut") else x)


class Stage(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.layer = nn.Sequential(WideBlock(ins, outs, stride))

    def forward(self, x):
        return self.layer(x)


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.block1, self.block2, self.block3 = Stage(4, 8, 1), Stage(8, 16, 2), Stage(16, 32, 2)
        self.bn1, self.fc = nn.BatchNorm2d(32), nn.Linear(32, 10)

    def forward(self, x):
        y = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(functional.relu(self.bn1(y)).mean((2, 3)))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = functional.avg_pool2d(torch.tanh(conv(x)), 2)
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x.flatten(1))))))


class Dense(nn.Module):
    def __init__(self, names, sizes, act):
        super().__init__()
        self.names, self.act = names, act
        for name, ins, outs in zip(names, sizes, sizes[1:]):
            setattr(self, name, nn.Linear(ins, outs))

    def forward(self, x):
        x = x.flatten(1)
        for name in self.names[:-1]:
            x = self.act(getattr(self, name)(x))
        return getattr(self, self.names[-1])(x)


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        for i, (ins, outs) in enumerate([(2, 5), (5, 7)]):
            block = nn.Sequential()
            block.conv, block.norm = nn.Conv2d(ins, outs, 3, padding=1, bias=False), nn.BatchNorm2d(outs)
            setattr(self, f"block{i}", block)
        self.head = nn.Linear(4 * 4 * 7, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.block0(x)), 2)
        return self.head(functional.relu(self.block1(x)).flatten(1))


class Autoencoder(nn.Module):
    """Of images of 13×10 pixels, by way of 7×5 and 4×3."""

    def __init__(self):
        super().__init__()
        self.encoder0, self.encoder1 = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.decoder1 = nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=(0, 0))
        self.decoder0 = nn.ConvTranspose2d(6, 3, 3, 2, 1, output_padding=(0, 1))

    def forward(self, x):
        y = functional.relu(self.encoder1(functional.relu(self.encoder0(x))))
        # Pixels as vectors, channels last.
        return self.decoder0(functional.relu(self.decoder1(y))).permute(0, 2, 3, 1).flatten(1)


def resnets():
    weight_norm = torch.nn.utils.weight_norm
    basic, bottleneck = torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck
    return [
        ("resnet18:width=8", (4, 48, 48, 3), Narrow(basic, [2, 2, 2, 2], 8, False)),
        (
            # Smooth: in so deep a network a few of many ReLUs would open or shut by rounding.
            "resnet50:width=4,stem=cifar,activation=silu",
            (8, 16, 16, 3),
            Narrow(bottleneck, [3, 4, 6, 3], 4, True, nn.SiLU),
        ),
        ("resnet20:width=8", (6, 16, 16, 3), Cifar(3, 8, Style())),
        (
            "resnet8:width=8,norm=group,weights=standardized,activation=gelu",
            (4, 16, 16, 3),
            Cifar(1, 8, Style(group_norm, functional.gelu, Standardized)),
        ),
        (
            "resnet8:width=4,norm=instance,skip=no,activation=silu",
            (4, 16, 16, 3),
            Cifar(1, 4, Style(lambda c: nn.InstanceNorm2d(c, affine=True), functional.silu, skip=False)),
        ),
        (
            "resnet8:width=6,norm=layer,weights=normalized,scale=0.5",
            (4, 16, 16, 3),
            Cifar(1, 6, Style(ChannelNorm, weight=weight_norm, scale=True)),
        ),
        ("resnet8:width=6,norm=none,activation=tanh", (4, 16, 16, 3), Cifar(1, 6, Style(None, torch.tanh))),
    ]


def networks():
    three = nn.Sequential(
        nn.Linear(128, 24), nn.ReLU(), nn.Dropout(0), nn.Linear(24, 24), nn.ReLU(), nn.Dropout(0), nn.Linear(24, 10)
    )
    plain = [f"layer{i}" for i in range(20)] + ["head"]
    return [
        ("lenet5", (4, 28, 28, 1), LeNet()),
        ("vgg11:width=4", (4, 32, 32, 3), vgg11(False, nn.Linear(32, 10))),
        ("vgg11:width=4,norm=batch,head=imagenet,hidden=24,dropout=0", (4, 64, 64, 3), vgg11(True, three)),
        *resnets(),
        ("wrn10-2:width=4", (5, 16, 16, 3), Wide()),
        ("plain:depth=20,width=16", (5, 6, 6, 1), Dense(plain, [36] + 20 * [16] + [10], torch.tanh)),
        (
            "mlp:widths=13-11,activation=gelu",
            (5, 4, 4, 3),
            Dense(["hidden0", "hidden1", "head"], [48, 13, 11, 10], functional.gelu),
        ),
        ("cnn:widths=5-7", (4, 9, 9, 2), Cnn()),
        ("autoencoder:widths=6-8", (4, 13, 10, 3), Autoencoder()),
    ]


def sample(gradient):
    """Every k-th element, and the norm of all."""
    flat = gradient.flatten()
    step = -(-flat.numel() // 1024) | 1
    return torch.cat([flat[::step], flat.norm().reshape(1)])


def main():
    tensors, metadata = {}, {}
    for index, (spec, size, net) in enumerate(networks()):
        net = net.double()
        state = net.state_dict()
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(value(name, tuple(tensor.shape)))
        n = size[0]
        x = 2 * torch.from_numpy(noise("images", math.prod(size)).reshape(size)).permute(0, 3, 1, 2)
        labels = torch.tensor([i * 7 % 10 for i in range(n)])
        with torch.no_grad():
            tensors[f"{index}.eval"] = net.eval()(x)
        y = net.train()(x)
        if spec.startswith("autoencoder"):
            loss = (y - x.permute(0, 2, 3, 1).flatten(1)).square().sum(1).mean() / 2
        else:
            loss = functional.cross_entropy(y, labels)
        loss.backward()
        tensors |= {f"{index}.train": y, f"{index}.loss": loss.reshape(1)}
        tensors |= {f"{index}.d.{name}": sample(p.grad) for name, p in net.named_parameters()}
        metadata[f"{index}"] = f"{spec} {'x'.join(map(str, size))}"
        shapes = {name: list(t.shape) for name, t in state.items() if t.is_floating_point()}
        metadata[f"shapes {index}"] = json.dumps(shapes, separators=(",", ":"))
    for name in ["resnet18", "resnet34", "resnet50", "vgg11", "vgg16", "vgg16_bn", "vgg19"]:
        with torch.device("meta"):
            state = getattr(torchvision.models, name)().state_dict()
        shapes = {key: list(t.shape) for key, t in state.items() if t.is_floating_point()}
        metadata[f"names {name}"] = json.dumps(shapes, separators=(",", ":"))
    write("networks", tensors, metadata)


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}")
    main()
