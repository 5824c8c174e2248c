"""Batches of many sizes, the first of them neither the largest nor the smallest."""

from tiny import Net, adam, batch, step, tell

net = Net()
optimizer = adam(net)
for number, rows in enumerate((800, 800, 800, 640, 512, 1024, 800, 960, 300, 1024, 700, 801)):
    tell(number, step(net, optimizer, batch(rows)))
