"""What data are on disk, and fetching what may be fetched: `hw2 data status`, `hw2 data fetch`.

A download that breaks off goes on where it stopped, and counts only when its checksum is right.
Addresses and checksums of MNIST, USPS and SVHN are torchvision's. BSDS500 publishes no checksum:
its photographs are compared with those the recorded runs used.
"""

import hashlib
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from hw2lib.datasets import course, digits, faces
from hw2lib.datasets.files import of_user, users
from hw2lib.errors import UserError, check_known
from hw2lib.io.paths import data_dir, locked, sha256, synced, temporary

NAMES = ("mnist", "usps", "svhn", "bsds500")  # what can be fetched
BSDS500 = [
    f"https://{host}.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz"
    for host in ("www2", "www")
]
PHOTOS_SHA256 = {  # of the photographs in the order of their names, as in the recorded runs
    "train": "b626d29a9653bf7a573863ad2470032b8d6e01a04a88d1c1e4b599055eb60e71",
    "test": "93a43b3f3d4612ac0750dc938801bde0cd2ad6fa0e02a22cc1df9bf77eb6cfdf",
}


def data_status() -> str:
    """What is on disk and what `auto` would use: a table as text, read without loading anything."""
    named = "named by HW2_DATA" if os.environ.get("HW2_DATA") else "HW2_DATA is not set"
    named += "" if data_dir().is_dir() else ", does not exist"
    lines = [f"data folder: {data_dir()} ({named})", ""]
    lines.append(f"{'data':<8} {'used':<10} {'course':<8} {'public':<8} embedded")
    notes = []
    for name in digits.DOMAINS:
        have = digits.available(name)
        marks = ["yes" if data in have else "-" for data in ("course", "public")]
        lines.append(f"{name:<8} {have[0]:<10} {marks[0]:<8} {marks[1]:<8} yes")
        if have[0] == "embedded":
            notes.append(f"{name}: {(digits.missing(name, 'public') or '').split(';')[0]}")
    tar = faces.tar_path().is_file()
    used, mark = ("public", "yes") if tar else ("embedded", "-")
    lines.append(f"{'faces':<8} {used:<10} {'-':<8} {mark:<8} yes")
    if not tar:
        notes.append(f"faces: {faces.tar_path()} is missing (CelebA at 64x64, see data/README.md)")
    unet = course.face_dir() and (course.face_dir() / "UNet.pt")
    found = unet if unet and unet.is_file() else "not there, shipped weights serve"
    lines.append(f"\ncourse's face network: {found}")
    if notes:
        lines += ["", "not there:"] + [f"  {note}" for note in notes]
        lines += ["", f"`hw2 data fetch NAME` downloads {', '.join(NAMES)}, or `all` of them."]
    return "\n".join(lines)


def fetch(name: str) -> list[Path]:
    """Download a data set into the data folder; files already there stay. Gives the files.

    `name`: one of NAMES, or "mnistm" (MNIST and BSDS500), or "all". UserError without a network,
    on a wrong checksum, and for faces, which no program may download.
    """
    if name == "faces":
        raise UserError(
            f"faces cannot be fetched: CelebA asks each user to agree to its terms; put 64x64 JPEG "
            f"files into {faces.tar_path()} as data/README.md says"
        )
    groups = {"all": NAMES, "mnistm": ("mnist", "bsds500")} | {one: (one,) for one in NAMES}
    check_known("data set to fetch", name, groups)
    files = []
    for one in groups[name]:
        if one == "bsds500":
            files += fetch_photos(data_dir() / "BSDS500")
        else:
            files += [download(*entry) for entry in sources(one)]
    return files


def sources(name: str) -> list[tuple[list[str], Path, str]]:
    """(addresses, file, checksum) of each file of MNIST, USPS or SVHN."""
    from torchvision import datasets

    if name == "mnist":
        kind, folder = datasets.MNIST, data_dir() / "MNIST" / "raw"
        return [([mirror + file for mirror in kind.mirrors], folder / file, f"md5:{md5}")
                for file, md5 in kind.resources]  # fmt: skip
    kind = {"usps": datasets.USPS, "svhn": datasets.SVHN}[name]
    split = [kind.split_list[part] for part in ("train", "test")]
    folder = data_dir() / name.upper()
    return [([url], folder / file, f"md5:{md5}") for url, file, md5 in split]


def download(addresses: list[str], file: Path, checksum: str | None) -> Path:
    """`file` from the first address that gives it with the right checksum ("md5:..." or None).

    What an earlier, broken download left in FILE.part is kept and continued. A file that is
    already there is left as it is; UserError if it is not the published one.
    """
    plain = file.with_suffix("")
    if file.suffix == ".gz" and plain.is_file():
        return plain
    if file.is_file():
        if not _right(file, checksum):
            raise UserError(
                f"{file} is there, but not as it is published; remove it to download it again"
            )
        return file
    reasons, part = [], file.with_name(file.name + ".part")
    with locked(file.parent):
        for address in addresses:
            try:
                _go_on(address, part)
                if _right(part, checksum):
                    synced(part)
                    return part.replace(file)
                part.unlink()
                reasons.append(f"{address}: its checksum is not the published one")
            except (OSError, HTTPException, ValueError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                reasons.append(f"{address}: {reason}")
    raise UserError(
        f"{file} could not be downloaded ({'; '.join(reasons)}); run the command again to go on, "
        "or put the file there yourself"
    )


def _right(file: Path, checksum: str | None) -> bool:
    with open(file, "rb") as stream:
        return checksum in (None, f"md5:{hashlib.file_digest(stream, 'md5').hexdigest()}")


def _go_on(url: str, part: Path) -> None:
    """Download what `part` lacks."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, the part is the whole
            raise
        return
    with answer:
        if answer.status != 206:  # the server sends the whole file again
            have = 0
        length = int(answer.headers.get("Content-Length") or 0)
        bar = tqdm(total=have + length or None, initial=have, unit="B", unit_scale=True,
                   desc=part.stem)  # fmt: skip
        with bar, open(part, "ab" if have else "wb") as stream:
            got = 0
            while block := answer.read(1 << 16):
                got += stream.write(block)
                bar.update(len(block))
    if got < length:
        raise OSError(f"the connection ended after {have + got} of {have + length} bytes")


def fetch_photos(folder: Path, addresses: list[str] = BSDS500) -> list[Path]:
    """BSDS500's photographs in FOLDER/{train,val,test}; the archive itself is not kept."""
    parts = ("train", "val", "test")
    if all(users(folder / part, "*.jpg") for part in ("train", "test")):
        return [folder / part for part in parts if (folder / part).is_dir()]
    archive = download(addresses, folder / "BSR_bsds500.tgz", None)
    with temporary(folder, "photographs", directory=True) as inside:
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    path = Path(*Path(member.name).parts[-2:])
                    wanted = path.suffix == ".jpg" and path.parent.name in parts
                    if wanted and member.isfile() and of_user(path.name):
                        (inside / path.parent).mkdir(exist_ok=True)
                        (inside / path).write_bytes(tar.extractfile(member).read())
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            if getattr(error, "errno", None):  # of the disk, not of the archive
                raise
            archive.unlink()
            raise UserError(f"{archive} was damaged ({error}) and is removed; try again") from None
        for part, digest in PHOTOS_SHA256.items():
            photos = sorted((inside / part).glob("*.jpg"))
            if sha256(*photos) != digest:
                archive.unlink()
                raise UserError(
                    f"{addresses[0]} gave other {part} photographs than the recorded runs used; "
                    f"unpack BSDS500's images into {folder / part} yourself if you trust them"
                )
        for part in sorted(inside.iterdir()):
            part.rename(folder / part.name)
    archive.unlink()
    return [folder / part for part in parts]
