"""Tables and reports can be made where nothing is measured."""

from __future__ import annotations

import subprocess
import sys


def test_the_room_and_its_tables_and_reports_import_no_torch() -> None:
    code = (
        "import sys, superscale.evaluation\n"
        "from superscale.evaluation import Convention, Row, Table, cost, page, papers, report\n"
        "table = Table([Row('m', 'd', 'psnr', {'a': 30.0})], Convention(scale=4, color='y', border=4, low_res='as given'))\n"
        "assert '30.00' in page.to_html(table) and '30.00' in str(table) and '30.00' in papers.beside_papers(table, {})\n"
        "assert not {'torch', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
