"""A model card in Markdown, from a run's record alone."""

from collections.abc import Sequence

from attnlib.escaping import code, code_block, markdown
from attnlib.records.provenance import commit_words, threads_of
from attnlib.records.record import Accuracy, Metrics, Score
from attnlib.records.run import Run

SCORES = {
    "test_accuracy": "accuracy",
    "test_accuracy_top5": "top-5 accuracy",
    "test_calibration_error": "expected calibration error",
    "test_brier_score": "Brier score (0 to 2)",
    "test_accuracy_softmax": "accuracy, heads averaged after the softmax",
    "test_accuracy_ema": "accuracy of the averaged weights",
}


def model_card(run: Run) -> str:
    """The card of a run's network: what it is, how it was trained, how good it is, its limits.

    In the sections of Mitchell et al. (2019), arXiv:1810.03993, as far as a record knows them.
    """
    record, config = run.record, run.config
    data, sizes = record.dataset, record.dataset.sizes
    parts = [
        f"# {markdown(run.title)}",
        _model(run),
        "## How to use it",
        code_block(
            "import attnlib as al\n\n"
            f"model = al.load_run({run.name!r}).load_model()  # floats in [0, 1] go in",
            "python",
        ),
        code_block(f"attnlib predict {run.name} photos/\nattnlib export {run.name}", "bash"),
        "## Data",
        f"{markdown(data.title)}: {sizes.train:,} images to train on, {sizes.val:,} to choose the "
        f"epoch, {sizes.test:,} to test, each in one of the three only. SHA-256 of the content: "
        f"{code(data.sha256)}. Classes: {markdown(', '.join(data.classes))}.",
        "## Training",
        f"{config['epochs']} epochs of images of {config['img_size']} pixels a side, batches of "
        f"{config['batch_size']}, peak learning rate {config['lr']:.3g}, seed {record.seeds.run}; "
        f"the weights are those of epoch {record.metrics.best_epoch}, the best on validation "
        f"images. {_origin(run)}",
        code_block(record.command, "bash"),
        "## Results",
        f"On the {sizes.test:,} test images, looked at once, after training. Intervals are of 95% "
        "over images and leave out what another seed would change.",
        _scores(record.metrics),
        "### By class",
        _classes(record.metrics),
        "## Limits",
        "The scores hold for images like those of the test set, from the same source and "
        f"{config['img_size']} pixels a side. The network answers with one of its "
        f"{len(data.classes)} classes whatever it is shown, and its probabilities are only as good "
        "as the calibration error says. Nothing is known of its fairness between groups of people, "
        "and it was made to study attention layers, not to decide anything about anyone.",
        "## Where it comes from",
        _provenance(run),
    ]
    return "\n\n".join(parts) + "\n"


def _model(run: Run) -> str:
    record = run.record
    facts = {
        "run": code(run.name),
        "model": code(run.config["model"]),
        "parameters": f"{record.cost.parameters:,}",
        "input": f"images (B, 3, {run.config['img_size']}, {run.config['img_size']}), RGB, floats "
        "in \\[0, 1\\]; normalised inside",
        "output": f"logits (B, {len(record.dataset.classes)})",
        "weights": f"{record.cost.weights_bytes / 1e6:.1f} MB",
    }
    return _table(("", ""), list(facts.items()))


def _origin(run: Run) -> str:
    record, told = run.record, "It started from random weights."
    if run.config.get("pretrained"):
        told = "It started from ImageNet weights."
    if record.initial_checkpoint:
        told = f"It started from the weights of {code(record.initial_checkpoint['name'])}."
    if record.teacher:
        how = run.config["distillation"]
        told += f" It was taught by {code(record.teacher)}, with {how} distillation."
    return told


def _scores(metrics: Metrics) -> str:
    rows = []
    for name, label in SCORES.items():
        score: Accuracy | Score | None = getattr(metrics, name)
        if score is not None:
            form = "{:.2%}" if isinstance(score, Accuracy) else "{:.4f}"
            value, low, high = map(form.format, (score.value, score.low, score.high))
            rows.append((label, value, f"{low} to {high}"))
    rows.append(("cross-entropy, nats", f"{metrics.test_loss:.4f}", ""))
    return _table(("score", "value", "95% interval"), rows)


def _classes(metrics: Metrics) -> str:
    rows = [
        (markdown(one.name), str(own.n), f"{own.value:.1%}", f"{own.low:.1%} to {own.high:.1%}")
        for one in metrics.per_class
        if (own := one.accuracy)
    ]
    return _table(("class", "images", "accuracy", "95% interval"), rows)


def _provenance(run: Run) -> str:
    record, git = run.record, run.record.git
    facts = {
        "finished": record.finished,
        "device": markdown(f"{record.device.name}, {threads_of(record.device.threads)}"),
        "precision": record.precision,
        "time": f"{record.cost.wall_seconds:,.0f} s",
        "commit": commit_words(git.commit, git.dirty),
        "versions": markdown(", ".join(f"{k} {v}" for k, v in record.versions.items())),
    }
    return _table(("", ""), list(facts.items()))


def _table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [[text.replace("|", "&#124;") for text in row] for row in rows]
    lines = [[*names], ["---"] * len(names), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
