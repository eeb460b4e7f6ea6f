"""What rounding its weights for the page does to a network's answers on its test images."""

from attnlib.data.datasets import Split
from attnlib.explorer.packing import quantise
from attnlib.records.answers import find_images
from attnlib.records.find import Showcase
from attnlib.records.measurements import Row, list_measurements, select
from attnlib.records.run import Run
from attnlib.training.predict import predict

KIND = "rounding"
SOON = 500  # test images that are answered while the book is built, where no file holds the result


def measure_rounding(run: Run, split: Split) -> Row:
    """Accuracy of a run's network before and after rounding, and how often its answers agree.

    Args:
        run: With weights.
        split: Test images.
    """
    model = run.load_model()
    whole = predict(model, split, img_size=run.config["img_size"])
    rounded = predict(quantise(model), split, img_size=run.config["img_size"])
    return {
        "run": run.name,
        "images": len(split),
        "accuracy": whole.accuracy,
        "rounded": rounded.accuracy,
        "agreement": float((whole.decisions == rounded.decisions).mean()),
    }


def find_rounding(showcase: Showcase) -> list[Row]:
    """The rows of both networks: kept ones, or measured now if the test images are few.

    A network without a row is left out: nobody measured it, and its images are many or not here.
    """
    kept = [row for measured in list_measurements(KIND)[0] for row in measured.rows]
    rows = []
    for run in showcase:
        found = select(kept, run=run.name)
        if not found:
            split, _ = find_images(run)
            whole = split is not None and len(split) >= run.record.dataset.sizes.test
            few = split is not None and whole and len(split) <= SOON
            found = [measure_rounding(run, split)] if split is not None and few else []
        rows += found[-1:]
    return rows
