"""Fully sharded, block by block. Arguments, if any: a budget to compile the blocks under."""

import sys

from together import GPT, begin, end, train
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

begin()
model = GPT(0.1, layers=3)
for block in model.blocks:
    fully_shard(block)
    for budget in sys.argv[1:]:
        block.compile(backend="fastsa", options={"budget": budget, "time_limit": 0.5})
fully_shard(model)
train(model)
end(p.full_tensor() for p in model.parameters() if isinstance(p, DTensor))
