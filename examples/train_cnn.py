"""Train a convolutional classifier on images and say how well it does.

    python examples/train_cnn.py                              # drawn digits, no network needed
    python examples/train_cnn.py --data mnist                 # downloads MNIST, or finds it in --data-root
    python examples/train_cnn.py --data cifar10 --epochs 10
    python examples/train_cnn.py --data folder --data-root DIR   # your DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg
    python examples/train_cnn.py --model shallow --smoke      # a few steps, to see that everything works
    python examples/train_cnn.py --data mnist --device cuda   # on the GPU, from the same initial weights

The result folder gets metrics.jsonl, curves.png, mistakes.png, checkpoints and the best model's weights. A run that was
stopped, in whatever way, goes on with --resume, bit for bit. The script ends with an assertion on the test accuracy.
"""

import argparse
from pathlib import Path

import numpy as np

import reporting
import scratchnet as sn
from run import REFUSED, Run, ShowDefaults, add_arguments, amount, fail, seed_number
from scratchnet import data, metrics, nn, optim
from scratchnet.models import CNN, ShallowCNN

MODELS = {"cnn": CNN, "shallow": ShallowCNN}
DATA = {"digits": data.Digits, "mnist": data.MNIST, "fashion-mnist": data.FashionMNIST, "cifar10": data.CIFAR10}
DEFAULT_EPOCHS = 5
# Test accuracy after the default epochs: a little below the lowest that was measured.
WANTED = {
    ("cnn", "digits"): 0.98,
    ("cnn", "mnist"): 0.99,
    ("cnn", "fashion-mnist"): 0.89,
    ("cnn", "cifar10"): 0.58,
    ("shallow", "digits"): 0.96,
    ("shallow", "mnist"): 0.98,
    ("shallow", "fashion-mnist"): 0.89,
    ("shallow", "cifar10"): 0.62,
}


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    parser.add_argument("--model", choices=MODELS, default="cnn", help="what is trained")
    parser.add_argument("--data", choices=[*DATA, "folder"], default="digits", help="the images")
    parser.add_argument("--data-root", type=Path, help="folder that holds the data set (default: the cache folder)")
    parser.add_argument("--image-size", type=int, default=32, help="with --data folder: what images are resized to")
    parser.add_argument("--corrupt", choices=["refuse", "skip"], default="refuse", help="unreadable image files")
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=32, help="images of a step")
    parser.add_argument("--lr", type=amount, default=1e-3, help="Adam's learning rate at the start")
    parser.add_argument("--schedule", choices=["cosine", "constant"], default="cosine", help="of the learning rate")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    parser.add_argument("--smoke", action="store_true", help="a short run on few images, for tests")
    add_arguments(parser)
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-{args.model}-{args.seed}"
    if min(args.epochs, args.batch_size, args.save_every, args.keep) < 1:
        parser.error("--epochs, --batch-size, --save-every and --keep must be at least 1")
    if args.data == "folder" and args.data_root is None:
        parser.error("--data folder needs --data-root")
    return args


def load_data(args):
    """Training data, test data, the names of the classes, and the files that were left out, with the reasons."""
    if args.data == "folder":
        options = {"size": (args.image_size, args.image_size), "on_error": "skip"}
        train, test = (data.ImageFolder(args.data_root / part, **options) for part in ("train", "test"))
        if train.classes != test.classes:
            raise ValueError(f"{args.data_root}: train has the classes {train.classes}, test {test.classes}")
        skipped = train.skipped + test.skipped
        if skipped and args.corrupt == "refuse":
            raise ValueError(f"{skipped[0][1]} ({len(skipped)} such files; --corrupt skip leaves them out)")
        return train, test, train.classes, skipped
    make, options = DATA[args.data], {} if args.data == "digits" else {"root": args.data_root}
    if args.smoke and args.data == "digits":
        options["size"] = 512
    train, test = make(train=True, **options), make(train=False, **options)
    if args.smoke:
        return data.Subset(train, range(512)), data.Subset(test, range(256)), train.classes, []
    return train, test, train.classes, []


def evaluate(model, loader, device):
    """Mean loss, accuracy, and all logits and labels of a data set."""
    model.eval()
    losses, logits, labels = [], [], []
    with sn.no_grad():
        for images, target in loader:
            out = model(images.to(device)).cpu()
            losses.append(nn.functional.cross_entropy(out, target, reduction="sum").item())
            logits.append(out.data)
            labels.append(target.data)
    logits, labels = np.concatenate(logits), np.concatenate(labels)
    return sum(losses) / len(labels), metrics.accuracy(logits, labels), logits, labels


def main(argv=None):
    args = parse_arguments(argv)
    sn.manual_seed(args.seed)
    try:
        train, test, classes, skipped = load_data(args)
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    channels, size = train[0][0].shape[:2]
    settings = ("model", "data", "epochs", "batch_size", "lr", "schedule", "seed", "smoke")
    config = {name: getattr(args, name) for name in settings}
    config |= {"in_channels": channels, "image_size": size, "classes": list(classes)}

    model = MODELS[args.model](channels, size, len(classes)).to(args.device)
    loader = data.DataLoader(train, args.batch_size, shuffle=True)
    test_loader = data.DataLoader(test, 256)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    if args.schedule == "cosine":
        scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs * len(loader))
    else:
        scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    means = {"loss": metrics.Mean(), "accuracy": metrics.Mean()}

    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader, "means": means}

    @sn.capture
    def step(images, labels):
        logits = model(images)
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss, logits

    with Run(args, config, parts) as run:
        if skipped:
            run.skipped(skipped)
        run.say(nn.summary(model, (1, channels, size, size)))
        while loader.epoch < args.epochs:
            model.train()
            for images, labels in run.steps(loader, f"epoch {loader.epoch + 1}/{args.epochs}"):
                images, labels = images.to(args.device), labels.to(args.device)
                loss, logits = step(images, labels)
                means["loss"].update(loss.item(), len(labels))
                means["accuracy"].update(metrics.accuracy(logits, labels), len(labels))
                run.show(**{name: mean.value for name, mean in means.items()})
            test_loss, test_accuracy, _, _ = evaluate(model, test_loader, args.device)
            train = {f"train_{name}": mean.value for name, mean in means.items()}
            run.log(epoch=loader.epoch, **train, test_loss=test_loss, test_accuracy=test_accuracy)
            run.say(
                f"epoch {loader.epoch}: train loss {means['loss'].value:.4f}, "
                f"test loss {test_loss:.4f}, {test_accuracy:.2%} right"
            )
            for mean in means.values():
                mean.reset()
            run.save(score=test_accuracy)

    _, test_accuracy, logits, labels = evaluate(model, test_loader, args.device)
    panels = {quantity: {part: f"{part}_{quantity}" for part in ("train", "test")} for quantity in ("loss", "accuracy")}
    reporting.save_curves(args.out / "curves.png", run.rows, panels)
    reporting.save_mistakes(args.out / "mistakes.png", test, logits, labels, classes)
    run.say(f"results in {args.out}")

    wanted = 0.2 if args.smoke or args.epochs < DEFAULT_EPOCHS else WANTED.get((args.model, args.data), 0)
    assert test_accuracy >= wanted, f"test accuracy {test_accuracy:.2%} is below {wanted:.2%}"
    return test_accuracy


if __name__ == "__main__":
    main()
