import msgspec

from evaluation.evaluate.outcome import Evaluation
from evaluation.evaluate.plots import NUM_COLOURS, colour_of, draw_population, draw_rounds


def test_each_plot_is_an_element_of_its_own(an_evaluation: Evaluation) -> None:
    plots = draw_population(an_evaluation.populations[0])
    assert set(plots) == {"intervals", "percentiles", "letters", "lengths", "calibration"}
    assert all(plot.startswith("<svg ") and plot.rstrip().endswith("</svg>") for plot in plots.values())
    assert draw_rounds(an_evaluation.rounds).startswith("<svg ")


def test_the_same_findings_give_the_same_plots(an_evaluation: Evaluation) -> None:
    assert draw_population(an_evaluation.populations[0]) == draw_population(an_evaluation.populations[0])


def test_more_predictors_than_colours_are_told_apart_by_dashes(an_evaluation: Evaluation) -> None:
    found = an_evaluation.populations[0]
    many = tuple(
        msgspec.structs.replace(found.predictors[0], predictor=f"p{number}") for number in range(NUM_COLOURS + 1)
    )
    assert colour_of(0) == colour_of(NUM_COLOURS) == "line-1"
    drawn = draw_population(msgspec.structs.replace(found, predictors=many))["percentiles"]
    assert "stroke-dasharray" in drawn
    assert "stroke-dasharray" not in draw_population(found)["percentiles"]


def test_a_slice_that_a_sample_misses_is_a_gap(an_evaluation: Evaluation) -> None:
    found = an_evaluation.populations[0]
    whole, typed = found.predictors
    few = msgspec.structs.replace(typed, savings_by_letters=typed.savings_by_letters[1:2])
    drawn = draw_population(msgspec.structs.replace(found, predictors=(whole, few)))
    assert "nan" not in drawn["letters"].lower()
