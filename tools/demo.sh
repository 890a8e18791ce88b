#!/usr/bin/env bash
# From handwritten digits to four exported classifiers and one table, with the commands that the README shows.
# Makes the virtual environment when needed, see tools/venv.sh for what can be set. Results: output/demo/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/tools/venv.sh"
make_venv "$root" test

cd "$root"
python=$venv/bin/python
config=configs/quick_start/digits_resnet
out=output/demo

step() {
    printf '\n== %s\n' "$1"
}

# train NAME CONFIG [WEIGHTS]: fine-tune from WEIGHTS, and export the best checkpoint.
train() {
    local name=$1 yaml=$2 weights=${3:-null} arch=CIFARResNet20
    "$python" tools/train.py -c "$yaml" -o "Global.output_dir=$out/$name" -o "Global.pretrained_model=$weights"
    "$python" tools/export_model.py -c "$yaml" -o "Global.pretrained_model=$out/$name/$arch/best_model" \
        -o "Global.save_inference_dir=$out/$name/inference"
    best=$out/$name/$arch/best_model
}

step "1/6 data: 1,797 scanned digits"
[ -f dataset/digits/val_list.txt ] || "$python" -m ppcls_compress.data.digits --out dataset/digits

step "2/6 dense training"
train dense "$config.yaml"
dense=$best

step "3/6 FPGM: 30% of the filters removed, then fine-tuning"
train fpgm "${config}_fpgm.yaml" "$dense"
pruned=$best

step "4/6 PACT: 8-bit quantization-aware training"
train pact "${config}_pact.yaml" "$dense"

step "5/6 PACT on the pruned network"
train fpgm_pact "${config}_fpgm_pact.yaml" "$pruned"

step "6/6 results"
"$python" tools/report.py -c "$config.yaml" --out "$out/summary.json" --page "$out/report.html" \
    dense="$out/dense/inference" fpgm="$out/fpgm/inference" \
    pact="$out/pact/inference" fpgm_pact="$out/fpgm_pact/inference"
