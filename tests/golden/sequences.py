"""Writes the reference values of transformers and the recurrent language model in this folder.

    pip install torch transformers safetensors
    python3 tests/golden/sequences.py

The files here were made with PyTorch 2.15.0, transformers 5.23.0 and Python 3.11 on the CPU.

Every model is tiny and has weights that a formula gives in any language, so no weights are stored: element `i` of a parameter is
`scale * sin(phase + step * i * i)`, in float64 and rounded to float32 once, where the parameter's name, as Hugging Face writes it, gives
`step` and `phase` (see `weights`). Values are computed in float64. A `losses` entry is the mean of cross-entropy over all tokens;
gradients are those of that mean, under the parameters' names, in PyTorch's layouts, each one at the places `sample` gives.
"""

import pathlib
import sys

import torch
from torch.nn import functional
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from make import write  # noqa: E402

MASK = (1 << 32) - 1


def mix(name):
    """FNV-1a, 32 bits."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & MASK
    return h


def weights(name, shape):
    """The parameter of this name: a chirp whose rate and phase the name gives, so that no two rows are alike; gains are about
    one."""
    h = mix(name)
    step, phase = 1.0 + (h & 0xFFFF) / 65536.0, (h >> 16) / 4096.0
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    wave = torch.sin(phase + step * (i * i))
    gain = len(shape) == 1 and "norm" in name or ".ln_" in name
    wave = 1.0 + 0.2 * wave if gain and name.endswith("weight") else 0.3 * wave
    return wave.float().double().reshape(shape)


def sample(count):
    """Places of a gradient that are stored: at most 64, evenly."""
    return torch.arange(0, count, max(1, count // 64))


def fill(model, rename=lambda name: name):
    """A model in float64 with the formula's weights; tied parameters have those of the first name."""
    model = model.double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights(rename(name), parameter.shape))
    return model.eval()


def tokens(count, vocab):
    """Token ids, some of them more than once."""
    return torch.tensor([(7 * i * i + 3 * i + 1) % vocab for i in range(count)])


def learn(name, model, run, n, t, vocab, rename=lambda name: name):
    """Logits, loss, gradients, and the losses of ten steps of AdamW from there, each on the same tokens."""
    ids = tokens(n * (t + 1), vocab).reshape(n, t + 1)
    x, y = ids[:, :-1], ids[:, 1:]
    logits = run(model, x)
    loss = functional.cross_entropy(logits.reshape(-1, vocab), y.reshape(-1))
    loss.backward()
    tensors = {"logits": logits, "loss": loss.reshape(1)}
    for key, parameter in model.named_parameters():
        flat = parameter.grad.flatten()
        tensors[f"grad/{rename(key)}"] = flat[sample(flat.numel())]
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = functional.cross_entropy(run(model, x).reshape(-1, vocab), y.reshape(-1))
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    tensors["losses"] = torch.stack(losses)
    write(name, tensors, {"n": str(n), "t": str(t), "vocab": str(vocab), "lr": "3e-3", "weight_decay": "0.1"})


def greedy(model, prompt, count):
    """The prompt continued by the likeliest tokens, all logits made anew for each."""
    ids = prompt.clone()
    margins = []
    for _ in range(count):
        with torch.no_grad():
            logits = model(ids[None]).logits[0, -1]
        first, second = logits.topk(2).values
        margins.append((first - second).item())
        ids = torch.cat([ids, logits.argmax().reshape(1)])
    print(f"  narrowest choice {min(margins):.1e} among logits up to {logits.abs().max():.1f}")
    return ids


def gpt2():
    config = GPT2Config(
        vocab_size=61, n_positions=80, n_embd=20, n_layer=2, n_head=5, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        bos_token_id=0, eos_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    model = fill(GPT2LMHeadModel(config))
    ids = greedy(model, tokens(8, 61), 64)
    learn("gpt2", model, lambda model, x: model(x).logits, 3, 13, 61)
    write("gpt2_greedy", {"ids": ids}, {"prompt": "8"})


def decoder(width, rope):
    """A small Llama whose angles are made in float64: the library makes them in float32 whatever the model's precision."""
    config = LlamaConfig(
        vocab_size=61, hidden_size=width, intermediate_size=36, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=80, rms_norm_eps=1e-5, rope_parameters=rope, attn_implementation="eager",
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).double()
    rotary, d = model.model.rotary_emb, width // 6
    unstretched = 1.0 / rope["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    if rope["rope_type"] == "default":
        rotary.inv_freq = unstretched
    else:
        rotary.inv_freq = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu")[0].double()
        print(f"  {rope['rope_type']}: angles times {(rotary.inv_freq / unstretched).tolist()}")

    def exact(x, position_ids, layer_type=None):
        angles = position_ids[:, :, None].double() * rotary.inv_freq
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()

    rotary.forward = exact
    return fill(model)


def llama():
    model = decoder(24, {"rope_type": "default", "rope_theta": 500.0})
    ids = greedy(model, tokens(8, 61), 64)
    learn("llama", model, lambda model, x: model(x).logits, 3, 13, 61)
    write("llama_greedy", {"ids": ids}, {"prompt": "8"})
    linear = {"rope_type": "linear", "factor": 2.5}
    bands = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    for kind in [linear, {"rope_type": "llama3", "factor": 8.0} | bands]:
        model = decoder(48, kind | {"rope_theta": 500.0})
        learn(f"llama_{kind['rope_type']}", model, lambda model, x: model(x).logits, 3, 13, 61)


def vit():
    config = ViTConfig(
        hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=28, image_size=12, patch_size=4,
        num_channels=3, num_labels=7, attn_implementation="eager",
    )  # fmt: skip

    def stored(name):
        """The name under which files have a parameter."""
        for new, old in [
            ("vit.layers.", "vit.encoder.layer."),
            ("attention.q_proj", "attention.attention.query"),
            ("attention.k_proj", "attention.attention.key"),
            ("attention.v_proj", "attention.attention.value"),
            ("attention.o_proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ]:
            name = name.replace(new, old)
        return name

    model = fill(ViTForImageClassification(config), stored)
    images = weights("images", (5, 3, 12, 12)) * 4
    labels = tokens(5, 7)
    logits = model(images).logits
    loss = functional.cross_entropy(logits, labels)
    loss.backward()
    tensors = {"logits": logits, "loss": loss.reshape(1)}
    for key, parameter in model.named_parameters():
        flat = parameter.grad.flatten()
        tensors[f"grad/{stored(key)}"] = flat[sample(flat.numel())]
    write("vit", tensors, {"n": "5"})


class Lstm(torch.nn.Module):
    """The names that Hillshade's has."""

    def __init__(self, vocab, width, layers):
        super().__init__()
        self.encoder = torch.nn.Embedding(vocab, width)
        self.rnn = torch.nn.LSTM(width, width, layers, batch_first=True)
        self.decoder = torch.nn.Linear(width, vocab)

    def forward(self, x):
        return self.decoder(self.rnn(self.encoder(x))[0])


def lstm():
    learn("lstm", fill(Lstm(61, 20, 2)), lambda model, x: model(x), 3, 13, 61)


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    gpt2()
    llama()
    vit()
    lstm()
