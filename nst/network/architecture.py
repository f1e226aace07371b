"""What a network of the VGG kind is made of: its layers by name, and what follows from their order.

VGG-19 and VGG-16: Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image
Recognition* (arXiv 1409.1556), configurations E and D. Their convolutions are of 3 x 3 px and keep
the size; each of the five blocks but the last ends in a pooling, which halves it.

A *tap* is a place where activations are taken: `convB_I` before the ReLU of convolution I of block
B, `reluB_I` behind it. A layer's *level* is the number of poolings before it.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from nst.errors import InputError


class Convolution(NamedTuple):
    """A convolution.

    Attributes:
        name: `convB_I`.
        number: its index in torchvision's `features` of this network.
        inputs: channels.
        outputs: likewise.
    """

    name: str
    number: int
    inputs: int
    outputs: int


class Architecture:
    """A network's layers.

    Args:
        name: as people write it, `VGG-19`.
        blocks: the output channels of each block's convolutions.

    Attributes:
        name: as given.
        convolutions: from shallow to deep.
        taps: names of all taps, from shallow to deep.
    """

    def __init__(self, name: str, blocks: Sequence[Sequence[int]]) -> None:
        self.name = name
        self._counts = [len(widths) for widths in blocks]
        self.convolutions: list[Convolution] = []
        self.taps: list[str] = []
        self._levels: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._relus: dict[str, str] = {}
        self._poolings: dict[str, str] = {}
        index, channels = 0, 3
        for level, widths in enumerate(blocks):
            block = level + 1
            for number, width in enumerate(widths, start=1):
                convolution, relu = f"conv{block}_{number}", f"relu{block}_{number}"
                if number == 1 and level:
                    self._poolings[convolution] = f"pool{level}"
                    self._levels[f"pool{level}"] = level
                self.convolutions.append(Convolution(convolution, index, channels, width))
                self._relus[convolution] = relu
                for tap in (convolution, relu):
                    self.taps.append(tap)
                    self._levels[tap] = level
                    self._channels[tap] = width
                index, channels = index + 2, width
            index += 1

    def convolutions_for(self, taps: Iterable[str]) -> list[Convolution]:
        """The convolutions that some taps, at least one, need, from shallow to deep."""
        depth = self.taps.index(self.deepest(taps))
        return [one for one in self.convolutions if self.taps.index(one.name) <= depth]

    def pooling_before(self, convolution: str) -> str | None:
        """Name of the pooling right before a convolution, `poolB`; None where there is none."""
        return self._poolings.get(convolution)

    def relu_behind(self, convolution: str) -> str:
        """Name of a convolution's ReLU."""
        return self._relus[convolution]

    def level(self, layer: str) -> int:
        """How many poolings precede a layer, such as 4 for relu5_1; a pooling counts for itself."""
        return self._levels[layer]

    def check(self, taps: Iterable[str]) -> None:
        """Check that the network has these taps.

        Raises:
            InputError: a name is unknown; the message lists the valid ones.
        """
        for tap in taps:
            if tap not in self._channels:
                raise InputError(
                    f"unknown layer {tap!r}; the layers of {self.name} are {', '.join(self.taps)}"
                )

    def deepest(self, taps: Iterable[str]) -> str:
        """The last of some taps, at least one, that an image comes to."""
        return max(taps, key=self.taps.index)

    def minimum_side(self, taps: Iterable[str]) -> int:
        """The shortest side in px with which every tap still has at least one position.

        Each of the poolings before a tap halves the feature map and drops what is left over.
        """
        return 1 << max(map(self.level, taps), default=0)

    def feature_shape(self, image: Sequence[int], tap: str) -> tuple[int, int, int, int]:
        """Shape of a tap's feature map of a whole picture of shape 1 x 3 x H x W."""
        level = self.level(tap)
        return 1, self._channels[tap], image[2] >> level, image[3] >> level

    def reach(self, tap: str) -> int:
        """How many px beside its own ones a position of a layer sees, at most."""
        return self.halos([tap])[0]

    def halos(self, taps: Iterable[str]) -> tuple[int, ...]:
        """How far the deepest tap sees, at each level, beside a position.

        Args:
            taps: at least one name.

        Returns:
            Per level, from 0 to the deepest tap's: positions on each side of the feature map that
            enters its first convolution. Each convolution needs one more, each pooling twice as
            many; before a pooling the number is rounded up to an even one, so that the poolings'
            windows stay where they are.
        """
        deepest = self.deepest(taps)
        last = self.level(deepest)
        within = [tap for tap in self._relus if self.level(tap) == last]
        depth = self.taps.index(deepest)
        found = [sum(self.taps.index(tap) <= depth for tap in within)]
        for count in reversed(self._counts[:last]):
            needed = count + 2 * found[0]
            found.insert(0, needed + needed % 2)
        return tuple(found)


VGG_19 = Architecture("VGG-19", [(64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4])
# Each of its layers is one of VGG-19's too by its name, its channels and its level.
VGG_16 = Architecture("VGG-16", [(64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3])
Name = Literal["vgg19", "vgg16"]
ARCHITECTURES: dict[Name, Architecture] = {"vgg19": VGG_19, "vgg16": VGG_16}
