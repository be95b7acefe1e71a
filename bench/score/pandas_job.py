#!/usr/bin/env python3
"""The job of score_bench.c as a notebook would do it: pandas windows and XGBoost's Python package.

Patients have 12 h of readings a minute of 7 vital signs behind them. Each round a minute of readings
comes, the frame moves on, features of every patient's last 4 h and 24 h are computed with groupby,
and one call predicts all rows. Prints readings a second of one core's time, like score_bench.

usage: pandas_job.py [patients [rounds]]
"""
import json
import pathlib
import sys
import time

import numpy as np
import pandas as pd
import xgboost

MODEL = pathlib.Path(__file__).resolve().parents[2] / "models/sepsis-vitals"
VITALS = {"respiration": 16, "spo2": 97, "systolic": 120, "diastolic": 75, "mean_pressure": 90, "pulse": 75,
          "temperature": 36.9}
patients = int(sys.argv[1]) if len(sys.argv) > 1 else 500
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3

names = json.loads((MODEL / "card.json").read_text())["features"]
booster = xgboost.Booster(model_file=str(MODEL / "model.json"))
booster.set_param("nthread", 1)


def minute(at):
    index = np.arange(patients)
    frame = {"patient": index, "minute": at}
    for v, (key, usual) in enumerate(VITALS.items()):
        frame[key] = usual * (1 + 0.04 * np.sin((index * 7 + v * 3 + at) / 5))
    return pd.DataFrame(frame)


def features(frame, now):
    made = {}
    for hours in (4, 24):
        window = frame[frame["minute"] > now - hours * 60].groupby("patient")
        for what, table in (("min", window.min()), ("max", window.max()), ("mean", window.mean()),
                            ("sd", window.std())):
            for key in VITALS:
                made[f"{key}_{what}_{hours}h"] = table[key]
    last = frame.groupby("patient").last()
    for key in VITALS:
        made[f"{key}_last"] = last[key]
        made[f"{key}_age"] = (now - last["minute"]) / 60
        for hours in (1, 2, 4, 6, 12, 24):
            before = frame[frame["minute"] <= now - hours * 60].groupby("patient")[key].last()
            made[f"{key}_change_{hours}h"] = last[key] - before
    made["shock_index"] = last["pulse"] / last["systolic"]
    made["pulse_pressure"] = last["systolic"] - last["diastolic"]
    return pd.DataFrame(made, index=last.index).reindex(columns=names)


history = pd.concat([minute(at) for at in range(720)], ignore_index=True)
start = time.process_time()
for at in range(720, 720 + rounds):
    history = pd.concat([history, minute(at)], ignore_index=True)
    history = history[history["minute"] > at - 24 * 60]
    booster.inplace_predict(features(history, at).to_numpy(np.float32))
spent = time.process_time() - start
print(f"bench=score-pandas patients={patients} readings_per_s={patients * len(VITALS) * rounds / spent:.0f}")
