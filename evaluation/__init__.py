"""How well predictions serve people, told with one protocol for every predictor; corpora, reports and benchmarks."""
