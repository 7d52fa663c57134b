"""The plot of README.md: distortion against perception (Blau and Michaeli 2018) of everything that `superscale evaluate` measured.

    superscale evaluate --model bicubic --model srgan-x4 --data Set5/HR --metric psnr,niqe -o report
    python examples/perception_distortion.py report/results.json docs/images/perception-distortion.png

The papers' PSNR is a line without a height: their NIQE is of another model of clean photographs.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib import pyplot

from superscale.evaluation.papers import load_papers

SIZE_INCHES, DOTS_PER_INCH = (10.5, 3.8), 100
PAPERS = ("SRResNet", "SRGAN", "RRDB (PSNR-oriented)", "ESRGAN")


def main(results: Path, picture: Path) -> None:
    means: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in json.loads(results.read_text())["rows"]:
        means[row["data"]][row["model"]][row["metric"]] = row["mean"]
    figure, axes = pyplot.subplots(1, len(means), figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, squeeze=False)
    for axis, (data, models) in zip(axes[0], means.items(), strict=True):
        for number, (model, measured) in enumerate(models.items()):
            axis.scatter(measured["psnr"], measured["niqe"], color=f"C{number}", label=model)
        axis.margins(0.2)
        for paper in load_papers()[0]:
            if paper.model in PAPERS and data in paper.results:
                psnr = paper.results[data]["psnr"]
                axis.axvline(psnr, color="gray", linestyle=":", linewidth=0.8)
                axis.text(
                    psnr,
                    0.02,
                    f" {paper.model} (paper)",
                    rotation=90,
                    fontsize=6,
                    color="gray",
                    transform=axis.get_xaxis_transform(),
                )
        axis.set(title=data, xlabel="PSNR-Y, dB (better: right)")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("NIQE (better: down)")
    # Beside the plots: models of equal figures would write over one another.
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="center right", fontsize=7)
    figure.tight_layout(rect=(0, 0, 0.87, 1))
    figure.savefig(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
