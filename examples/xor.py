"""XOR, the smallest problem that takes a hidden layer, learned to 100 %."""

import ferrum as fe
import ferrum_nn as nn

fe.set_default_device("cpu" if fe.device_count("cpu") else "reference")
fe.manual_seed(0)

x = fe.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = fe.tensor([0, 1, 1, 0])

model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
optimizer = nn.optim.Adam(model.parameters(), lr=0.1)
loss_of = nn.CrossEntropyLoss()

for step in range(200):
    optimizer.zero_grad()
    loss = loss_of(model(x), y)
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:3}  loss {loss.item():.4f}")

answers = model(x).argmax(dim=1)
for (a, b), answer in zip(x.tolist(), answers.tolist(), strict=True):
    print(f"{a:.0f} xor {b:.0f} = {answer}")
assert (answers == y).all(), "the network has not learned XOR"
