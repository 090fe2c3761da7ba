"""The aggregation service: selects cohorts, sums updates, adds noise, steps the model, books the privacy spent."""
