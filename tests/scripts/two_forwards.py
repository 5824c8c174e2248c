"""Calls its model twice for one backward."""

from tiny import STEPS, Net, adam, batch, tell

net = Net()
optimizer = adam(net)
for number in range(STEPS):
    optimizer.zero_grad()
    loss = (net(batch()) - net(batch())).square().mean()
    loss.backward()
    optimizer.step()
    tell(number, loss)
