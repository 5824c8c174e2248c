"""Makes fastsa forget to replay dropout, if it is there: a planned step differs.

`random`: differs from run to run by itself. `late`: the plan goes wrong in the second step.
"""

import os
import sys

from tiny import STEPS, Net, adam, batch, step, tell

what = sys.argv[1] if len(sys.argv) > 1 else ""
partition = sys.modules.get("fastsa.runtime.partition")
if partition is not None and not what:
    partition.is_random = lambda node: False  # type: ignore[attr-defined]
net = Net()
optimizer = adam(net)
for number in range(STEPS):
    x = batch()
    if what == "random":
        x += int.from_bytes(os.urandom(2), "little") / 65536
    tell(number, step(net, optimizer, x))
