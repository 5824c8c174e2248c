"""Two modules, one after the other, under one optimizer."""

from tiny import STEPS, WIDTH, Net, adam, batch, tell
from torch import nn
from torch.nn import functional as F

encoder = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Dropout(0.1))
decoder = Net()
optimizer = adam(encoder, decoder)
for number in range(STEPS):
    x = batch()
    optimizer.zero_grad()
    loss = F.mse_loss(decoder(encoder(x)), x.sum(1, keepdim=True))
    loss.backward()
    optimizer.step()
    tell(number, loss)
