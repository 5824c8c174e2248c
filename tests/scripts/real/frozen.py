"""Fine-tuning: the lower blocks are frozen, low-rank adapters are trained in the upper ones."""

import torch
from blocks import WIDTH, adapted, batch, loss_of
from real import STEPS, tell, tell_state

model = adapted()
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-2)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = loss_of(model, *batch())
    loss.backward()
    optimizer.step()
    tell(step, loss)
print("width", WIDTH, "trained", len(trained))
tell_state(model)
