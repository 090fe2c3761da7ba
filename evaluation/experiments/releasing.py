"""An experiment's weights as a device has them: in TFLite, as int8."""

from pathlib import Path

from evaluation.experiments.book import Book
from evaluation.releases import save_for_measuring


def write_release(book: Book, name: str, folder: Path) -> None:
    """Writes what `keychorus evaluate` can ask as it asks a release; no device should have it.

    Args:
      book: of the experiments.
      name: of one that ended.
      folder: to write to.

    Raises:
      BookError: there is none of that name that ended.

    """
    from model.export import export_prediction_model

    save_for_measuring(folder, export_prediction_model(book.weights(name)), book.vocabulary, name=name)
