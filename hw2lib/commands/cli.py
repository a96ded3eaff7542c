"""The console command `hw2`. A user's mistake ends in one line and exit status 2."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hw2lib import __version__
from hw2lib.errors import UserError
from hw2lib.io import parameters
from hw2lib.io.parameters import Batch, Count, Data, Finite, Seed, Share, Target, Weight, argument
from hw2lib.io.paths import place, runs_dir


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> None:
        raise UserError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser("hw2", description="Conditional diffusion, DDIM faces, domain adaptation.")
    parser.add_argument("--version", action="version", version=f"hw2lib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="what data are on disk; explicit download")
    actions = data.add_subparsers(required=True, metavar="status|fetch")
    status = actions.add_parser("status", help="what is there and what would be used")
    status.set_defaults(run=data_status)
    fetch = actions.add_parser("fetch", help="download with checksums, resumed if cut off")
    fetch.add_argument("name", nargs="?", default="all")
    fetch.set_defaults(run=data_fetch)

    train = commands.add_parser("train", help="train a model, with checkpoints")
    train.add_argument("what", choices=["digits", "faces", "dann", "judge",
                       "digit-features", "face-features"])  # fmt: skip
    train.add_argument("--preset", default="quick",
                       help="quick | full; digits also study | report, faces cores")  # fmt: skip
    train.add_argument("--set", dest="settings", nargs="+", action="extend", default=[],
                       metavar="key=value", help="change settings of the preset")  # fmt: skip
    train.add_argument("--target", type=argument(Target), help="svhn (default) | usps | mnistm |"
                       " uci; for dann")  # fmt: skip
    train.add_argument("--rows", help="for dann: which, as in dann,target_only; default the table")
    train.add_argument("--data", type=argument(Data), default="auto",
                       help="auto | course | public | embedded")  # fmt: skip
    train.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    train.add_argument("--warm-start", type=place, metavar="FILE",
                       help="weights to begin with; for digits, faces")  # fmt: skip
    train.add_argument("--out", type=place, help="folder of the run; default build/runs/...")
    train.set_defaults(run=train_command)

    digits = commands.add_parser("sample-digits", help="write {digit}_{001..}.png, 28x28 RGB")
    digits.add_argument("out", type=place)
    digits.add_argument("--per-digit", type=argument(Batch), default=100)
    digits.add_argument("--seed", type=argument(Seed))
    digits.add_argument("--w", type=argument(Weight), help="w of (1+w) cond - w uncond; what is not"
                        " given here is as in the report")  # fmt: skip
    digits.add_argument("--steps", type=argument(Count))
    digits.add_argument("--confidence", type=argument(Share), default=0.0,
                        help="draw again until a classifier is so sure of the digit")  # fmt: skip
    digits.add_argument("--weights", type=place)
    digits.set_defaults(run=sample_digits_command)

    faces = commands.add_parser("sample-faces", help="write 00.png for 00.pt, ...")
    faces.add_argument("noise_dir", type=place, help="folder with 00.pt ..; `course`: HW2_DATA's")
    faces.add_argument("out", type=place)
    faces.add_argument("--weights", type=place, help="the course's UNet.pt or a .safetensors;"
                       " default: UNet.pt beside the noise folder, else the shipped")  # fmt: skip
    faces.add_argument("--eta", type=argument(Share), help="0, the default, is deterministic")
    faces.add_argument("--steps", type=argument(Count), help="as the reference faces by default")
    faces.add_argument("--seed", type=argument(Seed), help="of the noise added where eta > 0")
    faces.add_argument("--batch", type=argument(Count), help="faces at a time: more memory, 1"
                       " of 255 may change; default: 1 with UNet.pt, else 32 of 64x64")  # fmt: skip
    faces.set_defaults(run=sample_faces_command)

    compare = commands.add_parser("compare-faces", help="mean squared errors to reference faces")
    compare.add_argument("faces", type=place)
    compare.add_argument("references", type=place, help="folder with 00.png ..; `course`: its GT")
    compare.add_argument("--limit", type=argument(Finite), default=20.0,
                         help="of the mean error, on 0..255")  # fmt: skip
    compare.set_defaults(run=compare_faces_command)

    classify = commands.add_parser("classify", help="label a folder of images")
    classify.add_argument("image_dir", type=place, help="images of any size; `course`: HW2_DATA's")
    classify.add_argument("out_csv", type=place)
    classify.add_argument("--target", type=argument(Target), required=True,
                          help="svhn | usps | mnistm | uci")  # fmt: skip
    classify.add_argument("--weights", type=place)
    classify.add_argument("--list", dest="listed", metavar="FILE", help="csv of the image_names to"
                          " read; for `course`: train | val (default) | test")  # fmt: skip
    classify.set_defaults(run=classify_command)

    judge = commands.add_parser("judge", help="accuracy of {digit}_NNN.png files")
    judge.add_argument("folder", type=place)
    judge.add_argument("--weights", type=place)
    judge.set_defaults(run=judge_command)

    verify = commands.add_parser("verify", help="recorded numbers, measured again in minutes",
                                 description="Status 1: one is outside its interval.")  # fmt: skip
    verify.add_argument("name", nargs="?", help="a result file, as dann-svhn; default: all")
    verify.set_defaults(run=verify_command)
    return parser


def data_status(_: argparse.Namespace) -> None:
    from hw2lib.datasets.fetch import data_status

    print(data_status())


def data_fetch(args: argparse.Namespace) -> None:
    from hw2lib.datasets.fetch import fetch

    print(*fetch(args.name), sep="\n")


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--set {pair}: key=value is right, as in --set steps=500")
    return dict(pair.split("=", 1) for pair in pairs)


_ONLY_FOR = {"target": ["dann"], "rows": ["dann"], "warm_start": ["digits", "faces"]}


def train_command(args: argparse.Namespace) -> None:
    settings = _settings(args.settings)
    name = args.preset + ("-changed" if settings else "")
    out = args.out or runs_dir() / f"{args.what}-{name}"
    for option, kinds in _ONLY_FOR.items():
        if getattr(args, option) is not None and args.what not in kinds:
            known = f"--{option.replace('_', '-')} is for {' and '.join(kinds)} alone"
            raise UserError(f"{known}; `hw2 train {args.what}` without it is right")
    if args.what == "dann":
        train_dann(args, settings)
    elif args.what in ("digits", "faces"):
        train_diffusion(args, settings, out)
    else:
        train_evaluator(args, settings, out)


def train_diffusion(args: argparse.Namespace, settings: dict[str, str], out: Path) -> None:
    from hw2lib.experiments import cfdg, ddim, recipe

    presets = {"digits": cfdg.DIGIT_PRESETS, "faces": ddim.FACE_PRESETS}[args.what]
    preset = recipe.with_settings(parameters.choose(presets, args.preset), settings)
    train = {"digits": cfdg.train_digits, "faces": ddim.train_faces}[args.what]
    train(preset, data=args.data, out=out, resume=args.resume, start=args.warm_start)
    print(f"weights: {out / 'weights.safetensors'}")


def train_evaluator(args: argparse.Namespace, settings: dict[str, str], out: Path) -> None:
    from hw2lib.datasets import digits, faces
    from hw2lib.evaluators import digit_features, face_features, judge

    evaluator, train = {
        "judge": (judge.JUDGE, judge.train),
        "digit-features": (digit_features.DIGIT_FEATURES, digit_features.train),
        "face-features": (face_features.FACE_FEATURES, face_features.train),
    }[args.what]
    config = parameters.changed(parameters.choose(evaluator.presets, args.preset), settings)
    of_faces = args.what == "face-features"
    data = faces.load(args.data) if of_faces else digits.load("mnistm", args.data)
    print(data.describe(), flush=True)
    file = train(data, out, preset=args.preset, config=config, resume=args.resume)
    print(f"weights: {file}")


def train_dann(args: argparse.Namespace, settings: dict[str, str]) -> None:
    from hw2lib.experiments import dann, dann_rows

    changes = dict(settings)
    seed = parameters.valid("seed", changes.pop("seed", 0), Seed)
    names = dann_rows.TABLE if args.rows is None else args.rows.split(",")
    for name in names:  # complains before any data are read
        dann_rows.with_settings(dann_rows.row_for(name, args.preset), changes)
    result = dann.run(
        args.target or "svhn", args.preset, [seed], names, args.out, args.resume, args.data, changes
    )
    print(*result["problem"].domains, sep="\n")
    for name, trained in result["rows"].items():
        n = len(result["problem"].test)
        print(f"{name:<18} {trained[0].accuracy:.4f} of {n} test images, seed {seed}")
    print(f"run: {result['out']}")


def sample_digits_command(args: argparse.Namespace) -> None:
    from hw2lib.commands.folders import digits_into
    from hw2lib.experiments.cfdg import DEFAULT

    how = _given(args, DEFAULT, "w", "steps", "seed")
    n = digits_into(args.out, args.per_digit, how, args.weights, args.confidence)
    print(f"{n} images in {args.out}")


def sample_faces_command(args: argparse.Namespace) -> None:
    from hw2lib.commands.folders import faces_into
    from hw2lib.datasets import course
    from hw2lib.experiments.ddim import DEFAULT

    folder = _course_folder(args.noise_dir, "noise")
    weights = args.weights or course.unet_beside(folder)
    how = _given(args, DEFAULT, "eta", "steps", "seed")
    n = faces_into(args.out, folder, how, batch=args.batch, weights=weights)
    print(f"{n} faces in {args.out}, by {weights or 'the shipped weights'}")


def _given(args: argparse.Namespace, default: Any, *names: str) -> Any:
    """`default` settings, changed by the options that were given."""
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return parameters.changed(default, given)


def _course_folder(path: Path, name: str) -> Path:
    """`path`, or the course's folder `name` if `path` is the word "course" and no folder."""
    from hw2lib.datasets import course

    return course.face_part(name) if str(path) == "course" and not path.exists() else path


def compare_faces_command(args: argparse.Namespace) -> int:
    from hw2lib.datasets import faces

    errors = faces.squared_errors(args.faces, _course_folder(args.references, "GT"))
    for name, error in errors.items():
        print(f"{name:<12} {error:10.4f}")
    mean = sum(errors.values()) / len(errors)
    passed = mean <= args.limit
    print(f"{'mean':<12} {mean:10.4f}   {'passed' if passed else 'failed'}, limit {args.limit:g}")
    return 0 if passed else 1


def classify_command(args: argparse.Namespace) -> None:
    from hw2lib.commands import classify

    folder, names = args.image_dir, None
    if str(folder) == "course" and not folder.exists():
        folder, names = classify.of_course(args.target, args.listed or "val")
    elif args.listed is not None:
        names = classify.listed(place(args.listed), folder)
    print(classify.classify(folder, args.out_csv, args.target, args.weights, names))


def judge_command(args: argparse.Namespace) -> None:
    from hw2lib.evaluators import judge

    net = judge.load(args.weights)
    score = judge.score_folder(args.folder, net)
    print(score.text())
    print("\nconfusion, rows: asked for, columns: read")
    print("     " + "".join(f"{digit:>5}" for digit in range(10)))
    for digit, row in enumerate(score.confusion.tolist()):
        print(f"{digit:>5}" + "".join(f"{count:>5}" for count in row))
    real = net.header["test_accuracy"]
    interval = f"{real['mean']:.4f} ({real['low']:.4f} to {real['high']:.4f})"
    print(f"\naccuracy of the judge on {real['n']} real test images: {interval}")


def verify_command(args: argparse.Namespace) -> int:
    from hw2lib.commands.verify import verify

    return 1 if verify(args.name) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. SIGTERM and SIGHUP end it as Ctrl-C does.

    All that is no user's mistake but comes from outside, a full disk above all, ends as one.
    """
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    for name, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(name, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # one of a notebook has none, a closed one is None
            stream.reconfigure(errors="backslashreplace")  # of file names that it cannot show
    try:
        args = build_parser().parse_args(argv)
        status = args.run(args) or 0
        print(end="", flush=True)  # a closed stream is None
        return status
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except Exception as error:
        line = _one_line(error)
        if line is None:
            raise
        _complain(line)
        return 2
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _one_line(error: Exception) -> str | None:
    """What a user can do something about, in a line; None for a fault of ours."""
    if isinstance(error, UserError):
        return str(error)
    reason = (str(error).splitlines() or ["no room"])[0]
    if isinstance(error, OSError):
        name = error.filename or "reading or writing"
        return f"{name}: {error.strerror or reason}; make room there or name another place"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in reason):
        return f"out of memory ({reason}); less at a time would be right"
    return None


def _complain(line: str) -> None:
    """One line on standard error, below the progress bars."""
    from tqdm import tqdm

    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    print(f"hw2: error: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
