"""Networks for images, each written once, for FERRUM and for PyTorch.

Every function is given the `nn` of one of the two. Keys of the state dicts are torchvision's, so
its weights fit.
"""

from __future__ import annotations

from typing import Any

RESNET_18 = [(64, 1), (128, 2), (256, 2), (512, 2)]  # channels and stride of each stage

# expansion, channels, repeats and stride of each stage: table 2 of arXiv:1801.04381
MOBILENET_V2 = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def lenet(nn: Any) -> Any:
    """Return a network of LeNet's size for images (n, 1, 28, 28) of ten kinds."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def resnet_18(nn: Any) -> Any:
    """Return ResNet-18 (arXiv:1512.03385) for images (n, 3, h, w) of 1,000 kinds."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.downsample = None
            if stride != 1 or inputs != outputs:
                self.downsample = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.relu = nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, padding=1)
            inputs = 64
            for i, (outputs, stride) in enumerate(RESNET_18, 1):
                blocks = Block(inputs, outputs, stride), Block(outputs, outputs, 1)
                setattr(self, f"layer{i}", nn.Sequential(*blocks))
                inputs = outputs
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(512, 1000)

        def forward(self, x: Any) -> Any:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(self.avgpool(x).flatten(1))

    return ResNet()


def mobilenet_v2(nn: Any) -> Any:
    """Return MobileNetV2 (arXiv:1801.04381) for images (n, 3, h, w) of 1,000 kinds."""

    def layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
            super().__init__()
            self.shortcut = stride == 1 and inputs == outputs
            width = inputs * expansion
            self.conv = nn.Sequential(
                *([layer(inputs, width, 1)] if expansion > 1 else []),
                layer(width, width, 3, stride, groups=width),
                nn.Conv2d(width, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if self.shortcut else self.conv(x)

    class MobileNetV2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            blocks, inputs = [layer(3, 32, 3, 2)], 32
            for expansion, outputs, repeats, stride in MOBILENET_V2:
                for i in range(repeats):
                    blocks.append(Block(inputs, outputs, stride if i == 0 else 1, expansion))
                    inputs = outputs
            self.features = nn.Sequential(*blocks, layer(inputs, 1280, 1))
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

        def forward(self, x: Any) -> Any:
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    return MobileNetV2()
