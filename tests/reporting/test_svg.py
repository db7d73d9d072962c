from __future__ import annotations

from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.figure import Figure

from minivess.reporting.svg import drawing, name_of, paint, standalone, to_svg


def draw(words: str = "", **options: dict[str, str]) -> str:
    with drawing():
        figure = Figure(figsize=(2, 1))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], marker="o", color=paint("series-0"), gid="line")
        axes.set_title(words)
        return str(to_svg(figure, "one", 'a "line"', **options))


class TestSvg:
    def test_colours_and_fonts_come_from_the_page(self):
        text = draw()
        assert "stroke: var(--series-0)" in text
        assert "#0000" not in text
        assert "DejaVu" not in text
        assert "<style" not in text

    def test_the_element_has_no_external_reference(self):
        text = draw()
        assert text.startswith('<svg id="one-svg" viewBox="0 0 144 72" role="img" aria-label="a &quot;line&quot;">')
        assert text.rstrip().endswith("</svg>")
        assert "http" not in text

    def test_ids_and_references_start_with_the_name_of_the_figure(self):
        text = draw()
        assert 'id="one-line"' in text
        assert text.count('id="') == text.count('id="one-')
        assert text.count('="#') == text.count('="#one-') > 0
        assert text.count("url(#") == text.count("url(#one-") > 0

    def test_texts_and_hover_texts_are_escaped(self):
        text = draw("$x <b>", hover={"line": "</title><script>"})
        assert "$x &lt;b&gt;" in text
        assert '<g id="one-line"><title>&lt;/title&gt;&lt;script&gt;</title>' in text

    def test_a_standalone_file_has_its_own_colours(self):
        element = Markup(draw("a & b"))
        text = standalone(element)
        assert name_of(element) == "one"
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert "stroke: #1f6fb2" in text
        assert "var(" not in text
