"""Published weights of LPIPS v0.1 and DISTS: torchvision's backbones and the channel weights, by folder or from the cache."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from superscale.errors import UnknownNameError
from superscale.weights.checkpoint import load_strictly
from superscale.weights.foreign import read_foreign
from superscale.weights.store import Published, cache_folder

TORCHVISION = "https://download.pytorch.org/models/"
LPIPS = "the `lpips` 0.1.4 wheel on PyPI (lpips/weights/v0.1/, BSD-2-Clause), renamed"
DISTS = "the `DISTS-pytorch` 0.1 wheel on PyPI (DISTS_pytorch/weights.pt, MIT), renamed"
# What an error proposes, beside the place where the file is looked for.
WAY_OUT = "name its folder"
# The publisher puts the first eight digits of a backbone's sha256 into the file's name.
ALEXNET = Published("alexnet-owt-7be5be79.pth", "7be5be79", TORCHVISION)
VGG16 = Published("vgg16-397923af.pth", "397923af", TORCHVISION)
SQUEEZENET = Published("squeezenet1_1-b8a52dc0.pth", "b8a52dc0", TORCHVISION)


def _lpips(name: str, sha256: str) -> Published:
    return Published(f"lpips-v0.1-{name}.pth", sha256, LPIPS)


# metric -> its backbone, and what it learned of people's judgements
METRIC_NETWORKS: dict[str, tuple[Published, Published]] = {
    "lpips-alex": (ALEXNET, _lpips("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0")),
    "lpips-vgg": (VGG16, _lpips("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868")),
    "lpips-squeeze": (SQUEEZENET, _lpips("squeeze", "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76")),
    "dists": (VGG16, Published("dists-weights.pt", "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218", DISTS)),
}


def load_metric_network(network: nn.Module, metric: str, folder: str | Path | None = None) -> None:
    """Fill the network of a metric, an `Lpips` or `Dists`, from ``folder``, by default the cache folder.

    Raises ModelError, with what to fetch and where to put it, when a file is absent or its sha256 is another.
    """
    if metric not in METRIC_NETWORKS:
        raise UnknownNameError("metric with a network", metric, METRIC_NETWORKS)
    wanted = network.state_dict().keys()
    tensors: dict[str, Tensor] = {}
    for published in METRIC_NETWORKS[metric]:
        path = (Path(folder) if folder else cache_folder()) / published.file
        published.check(path, metric, WAY_OUT)
        tensors |= {key: tensor for key, tensor in read_foreign(path).items() if key in wanted}
    load_strictly(network, tensors, metric)
