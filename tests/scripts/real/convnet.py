"""A conv net as timm writes them: batch norm, squeeze and excite, stochastic depth."""

import torch
from images import ConvNet
from real import STEPS, budgeted, tell, tell_state
from torch import nn

model = ConvNet()
budgeted(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
for step in range(STEPS):
    images, labels = torch.randn(8, 3, 64, 64), torch.randint(0, 10, (8,))
    optimizer.zero_grad()
    loss = criterion(model(images), labels)
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
