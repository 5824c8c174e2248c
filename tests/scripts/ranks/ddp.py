"""Data parallel. Arguments: a share of dropout, then names of DistributedDataParallel's switches."""

import sys

from together import GPT, begin, end, train
from torch.nn.parallel import DistributedDataParallel

share, *switches = sys.argv[1:]
begin()
model = DistributedDataParallel(GPT(float(share)), **dict.fromkeys(switches, True))
train(model)
end(model.parameters())
