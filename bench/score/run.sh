#!/bin/bash
# run.sh BUILD -- scoring beside the same job in pandas with XGBoost, in the same run, one core each.
set -eu
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
"${1:-build/release}/score_score_bench"
/usr/bin/python3 -c 'import pandas, xgboost' 2>/dev/null || {
    echo "bench=score-pandas skipped: apt-get install python3-pandas python3-xgboost"
    exit 0
}
/usr/bin/python3 bench/score/pandas_job.py
