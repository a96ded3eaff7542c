# The report as rules: three notebooks at the quick preset, then the book.
# `snakemake --cores all` on one machine, a notebook on each core; with an executor plugin (slurm,
# kubernetes) elsewhere.
from glob import glob

from hw2lib.datasets.fetch import data_status
from hw2lib.io.paths import build_dir

BUILD = build_dir()  # HW2_BUILD, else build/
LIBRARY = sorted(glob("hw2lib/**/*.py", recursive=True))
NOTEBOOKS = {
    "cfdg": "notebooks/cfdg.ipynb",
    "ddim": "notebooks/ddim.ipynb",
    "dann-svhn": "notebooks/dann.ipynb",
    "dann-usps": "notebooks/dann.ipynb",
    "dann-mnistm": "notebooks/dann.ipynb",
}
PARAMETERS = {f"dann-{target}": f"-p target {target}" for target in ("svhn", "usps", "mnistm")}

# An input of every notebook, written anew only where other data are at hand than the last time.
DATA = BUILD / "data.txt"
status = data_status()
if not DATA.is_file() or DATA.read_text() != status:
    DATA.parent.mkdir(parents=True, exist_ok=True)
    DATA.write_text(status)


rule report:
    input:
        "_build/html/index.html",


rule adaptation:
    input:
        expand("{build}/papermill/{name}.ipynb", build=BUILD, name=PARAMETERS),


rule book:
    input:
        expand("{build}/papermill/{name}.ipynb", build=BUILD, name=NOTEBOOKS),
        glob("book/**/*.*", recursive=True),
        "_config.yml",
        glob("data/results/*.json"),
        glob("data/report.json"),
    output:
        "_build/html/index.html",
    shell:
        "jupyter-book build book/"


# papermill leaves half a notebook where a cell fails: it becomes the output only when it is whole.
rule notebook:
    input:
        lambda wildcards: NOTEBOOKS[wildcards.name],
        LIBRARY,
        DATA,
    output:
        f"{BUILD}/papermill/{{name}}.ipynb",
    params:
        part=lambda wildcards: BUILD / "papermill" / f".{wildcards.name}.part.ipynb",
        options=lambda wildcards: PARAMETERS.get(wildcards.name, ""),
    shell:
        "papermill {input[0]:q} {params.part:q} {params.options} --progress-bar"
        " --stderr-file >(cat >&2) && mv {params.part:q} {output:q}"
