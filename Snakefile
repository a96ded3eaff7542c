# The report as rules: three notebooks at the quick preset, then the book.
# `snakemake --cores 1` on one machine; with an executor plugin (slurm, kubernetes) elsewhere.
from glob import glob

LIBRARY = sorted(glob("hw2lib/*.py"))
NOTEBOOKS = {
    "cfdg": "notebooks/cfdg.ipynb",
    "ddim": "notebooks/ddim.ipynb",
    "dann-svhn": "notebooks/dann.ipynb",
    "dann-usps": "notebooks/dann.ipynb",
}
PARAMETERS = {"dann-svhn": "-p target svhn", "dann-usps": "-p target usps"}


rule report:
    input:
        "build/book.done",


rule book:
    input:
        expand("build/papermill/{name}.ipynb", name=NOTEBOOKS),
        glob("book/**/*.*", recursive=True),
        "_config.yml",
        glob("data/results/*.json"),
    output:
        touch("build/book.done"),
    shell:
        "jupyter-book build book/"


# papermill leaves half a notebook where a cell fails: it becomes the output only when it is whole.
rule notebook:
    input:
        lambda wildcards: NOTEBOOKS[wildcards.name],
        LIBRARY,
    output:
        "build/papermill/{name}.ipynb",
    params:
        options=lambda wildcards: PARAMETERS.get(wildcards.name, ""),
    shell:
        "papermill {input[0]} {output}.part {params.options} --progress-bar"
        " && mv {output}.part {output}"
