"""The HTML page of a certificate: what a reader needs in order to tell its curves and its outcomes apart."""

from __future__ import annotations

from certified import skip_net, tokens

import rankscope
from rankscope.renderers import CERTIFICATES


def test_the_curves_are_keyed_and_the_reasons_stand_where_they_can_be_read() -> None:
    page = CERTIFICATES["html"].text(rankscope.certify(skip_net(128.0), tokens()))
    caption = page[page.index("<figcaption>") : page.index("</figcaption>")]
    assert caption.count('class="key"') == 2
    assert caption.index("mu:") < caption.index("certified:")
    assert "<th>why</th>" not in page
    assert "<p><b>Theorem 4.1</b> b = " in page
    assert page.index("mu(Y(3)) is at least") < page.index("<table>")
    assert "rankscope explain" in page
