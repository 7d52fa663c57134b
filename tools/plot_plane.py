"""For maintainers: draw the models of docs/models.md in the plane of PSNR and NIQE, a panel for each benchmark set.

superscale evaluate --data Set5/HR --data Set14/HR --data BSD100/HR --metric psnr,niqe -m bicubic -m srgan-x4 --json > results.json
python tools/plot_plane.py results.json docs/images/perception-distortion.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from superscale.evaluation.papers import load_papers

INCHES, DOTS_PER_INCH = (10.5, 4.2), 100
PAPERS = {"SRGAN": ":", "SRResNet": "--", "ESRGAN": "-.", "RRDB (PSNR-oriented)": "-"}


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path, help="what evaluate --json printed")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    rows = json.loads(options.results.read_text())["rows"]
    means = {(row["data"], row["model"], row["metric"]): row["mean"] for row in rows}
    models, sets = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "data"))
    published = [paper for paper in load_papers()[0] if paper.model in PAPERS]
    figure = Figure(figsize=INCHES, layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for panel, name in zip(panels, sets, strict=True):
        for number, model in enumerate(models):
            panel.scatter(means[name, model, "psnr"], means[name, model, "niqe"], color=f"C{number}", label=model, zorder=2)
        for paper in published:
            psnr, style = paper.results[name]["psnr"], PAPERS[paper.model]
            panel.axvline(psnr, color="grey", linestyle=style, linewidth=1, label=f"{paper.model} in its paper", zorder=1)
        panel.set(title=name, xlabel="PSNR-Y, dB (better: right)")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("NIQE (better: down)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(options.picture, dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    main()
