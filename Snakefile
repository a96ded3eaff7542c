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
    log:
        f"{BUILD}/book.log",
    shell:
        "echo 'book: is built'; jupyter-book build book/ >{log:q} 2>&1"
        " || {{ tail -n 20 {log:q}; exit 1; }}"


# papermill leaves half a notebook where a cell fails: it becomes the output only when it is whole.
# What the notebooks print goes to a log of each: several run at once.
rule notebook:
    input:
        lambda wildcards: NOTEBOOKS[wildcards.name],
        LIBRARY,
        DATA,
    output:
        f"{BUILD}/papermill/{{name}}.ipynb",
    log:
        f"{BUILD}/papermill/{{name}}.log",
    params:
        part=lambda wildcards: BUILD / "papermill" / f".{wildcards.name}.part.ipynb",
        options=lambda wildcards: PARAMETERS.get(wildcards.name, ""),
    shell:
        "echo '{wildcards.name}: runs'; "
        "papermill {input[0]:q} {params.part:q} {params.options} >{log:q} 2>&1"
        " || {{ grep . {log:q} | tail -n 1; echo '{wildcards.name}: failed, see {log}'; exit 1; }}; "
        "mv {params.part:q} {output:q}; echo \"{wildcards.name}: done in $SECONDS s\""
