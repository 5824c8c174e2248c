"""Every fourth batch is smaller."""

from tiny import STEPS, Net, adam, batch, step, tell

net = Net()
optimizer = adam(net)
for number in range(STEPS):
    tell(number, step(net, optimizer, batch(700 if number % 4 == 3 else 1024)))
