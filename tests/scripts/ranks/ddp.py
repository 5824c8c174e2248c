"""Data parallel. Arguments: `dropout=0.1`, `options=fastsa budget` of DDP, see below."""

import sys

from together import GPT, begin, end, train
from torch.nn.parallel import DistributedDataParallel

begin()
model = DistributedDataParallel(GPT(float(sys.argv[1]) if sys.argv[1:] else 0.0))
train(model)
end(model.parameters())
