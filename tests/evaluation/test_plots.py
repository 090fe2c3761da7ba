from evaluation.plots import draw_lines


def test_every_line_has_a_colour_of_the_page_of_its_own():
    lines = {f"arm {number}": [0.1, 0.2] for number in range(1, 6)}
    svg = draw_lines("lines", lines, 0.1)
    for number in range(1, 6):
        assert svg.count(f"var(--line-{number})") == 1, "the axes and the other lines must have other colours"
