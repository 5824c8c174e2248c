"""Data parallel. Arguments: a share of dropout, then switches of DistributedDataParallel.

`compiled` among them: compiled by the script, as one graph without a plan.
"""

import os
import sys

import torch
from together import GPT, begin, end, train
from torch.nn.parallel import DistributedDataParallel

share, *switches = sys.argv[1:]
begin()
model = DistributedDataParallel(
    GPT(float(share)), **{name: True for name in switches if name != "compiled"}
)
if "compiled" in switches:
    os.environ["FASTSA_DISABLE"] = "1"
    torch._dynamo.config.optimize_ddp = False
    model.module.compile(backend="fastsa")
train(model)
end(model.parameters())
