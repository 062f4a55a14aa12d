"""A model in FSDP2 shards on CPUs (gloo), run by torchrun: `python -m … sharded.py LM_FOLDER`."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from mmadapt.composition import compose
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.train.frozen import FrozenProof
from tests import world


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def main(lm):
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    plain = compose(world.recipe(lm), allow_code=True)
    torch.manual_seed(0)
    shards = compose(world.recipe(lm), allow_code=True)
    for layer in shards.lm.model.layers:
        fully_shard(layer)
    fully_shard(shards)  # the adapter, encoders and embeddings are the root unit
    assert all(isinstance(parameter, DTensor) for parameter in shards.parameters())
    source, processors = world.ColourSource(world.ColourConfig(count=8)), plain.processors
    tokenizer = plain.require_tokenizer()
    samples = MediaDataset(source, plain.head, tokenizer, processors, training=True)
    first = 4 * dist.get_rank()
    batch = Collator(0)([samples[first + k] for k in range(4)])
    proof = FrozenProof(shards)
    losses = plain(**batch).loss, shards(**batch).loss
    assert torch.equal(*(loss.detach() for loss in losses))
    for loss in losses:
        loss.backward()
    trained = shards.trainable_parameters()
    for name, parameter in plain.trainable_parameters().items():
        mean = parameter.grad.clone()
        dist.all_reduce(mean)
        assert torch.allclose(mean / dist.get_world_size(), whole(trained[name].grad), atol=1e-6)
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-3)
    optimizer.step()
    optimizer.zero_grad()
    if dist.get_rank() == 1:
        batch.pop("media")  # this process meets no media in its batch
    shards(**batch).loss.backward()
    optimizer.step()
    proof.check()
    saved = {name: whole(tensor) for name, tensor in shards.adapter_state_dict().items()}
    assert {n: t.shape for n, t in saved.items()} == {
        n: t.shape for n, t in plain.adapter_state_dict().items()
    }
    dist.barrier()  # nobody leaves while another still speaks
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may abort an interpreter that ends as usual
