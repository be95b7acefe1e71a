#!/usr/bin/env python3
"""The live path's predictions, computed again by somebody else.

`vigil evaluate --predictions` sends recorded patients through the live windows, the feature table and
the C library. Here the same features are computed from the rows with numpy, from what docs/model.md
says of them, and predicted with XGBoost's Python package and the card's calibration. Both must agree
to 1e-6 on every row of 200 patients made up from a seed, and of 50 real ones where ../shared is there.

usage: crosscheck.py VIGIL [MODEL_DIR...]      77: skipped, XGBoost's Python package is not there
"""
import csv
import json
import lzma
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import xgboost
except ImportError:
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])
    print("SKIPPED crosscheck: python3-xgboost is not installed (tools/deps.sh installs it)")
    sys.exit(77)

SOURCE = pathlib.Path(__file__).resolve().parents[2]
REAL = SOURCE.parent / "shared/data/physionet2019_train.psv.xz"
PATIENTS = 200
REAL_PATIENTS = 50
TOLERANCE = 1e-6
NAN = float("nan")

VITALS = {  # feature key: column, plausible range
    "respiration": ("Resp", 0, 120), "spo2": ("O2Sat", 1, 100), "systolic": ("SBP", 20, 320),
    "diastolic": ("DBP", 5, 250), "mean_pressure": ("MAP", 10, 280), "pulse": ("HR", 0, 350),
    "temperature": ("Temp", 20, 46)}
LABS = {
    "etco2": ("EtCO2", 1, 150), "fio2": ("FiO2", 15, 100), "base_excess": ("BaseExcess", -50, 100),
    "bicarbonate": ("HCO3", 0, 60), "ph": ("pH", 6.3, 8.2), "paco2": ("PaCO2", 5, 150),
    "sao2": ("SaO2", 10, 100), "ast": ("AST", 1, 40000), "urea_nitrogen": ("BUN", 0.5, 300),
    "alp": ("Alkalinephos", 1, 6000), "calcium": ("Calcium", 0.5, 30), "chloride": ("Chloride", 20, 160),
    "creatinine": ("Creatinine", 0.05, 50), "bilirubin_direct": ("Bilirubin_direct", 0, 60),
    "glucose": ("Glucose", 5, 1500), "lactate": ("Lactate", 0.1, 40), "magnesium": ("Magnesium", 0.1, 15),
    "phosphate": ("Phosphate", 0.1, 25), "potassium": ("Potassium", 0.5, 30),
    "bilirubin": ("Bilirubin_total", 0, 90), "troponin_i": ("TroponinI", 0, 500),
    "hematocrit": ("Hct", 2, 80), "hemoglobin": ("Hgb", 1, 35), "ptt": ("PTT", 5, 300),
    "leukocytes": ("WBC", 0, 500), "fibrinogen": ("Fibrinogen", 20, 2500), "platelets": ("Platelets", 1, 3000)}
COLUMNS = ["HR", "O2Sat", "Temp", "SBP", "MAP", "DBP", "Resp"] + [c for c, _, _ in LABS.values()]
EXPIRY = {key: 4 for key in VITALS} | {"temperature": 6, "etco2": 4} | {
    key: 72 for key in LABS if key != "etco2"}


def made_up_patients():
    """Rows as in the challenge's file: gaps, values beyond reason, laboratory now and then."""
    rng = random.Random(20190801)
    usual = {"HR": 80, "O2Sat": 96, "Temp": 37, "SBP": 120, "MAP": 85, "DBP": 65, "Resp": 18, "EtCO2": 35,
             "FiO2": 0.5, "BaseExcess": 0, "pH": 7.38, "PaCO2": 40, "SaO2": 95, "Lactate": 2, "Creatinine": 1.2,
             "Bilirubin_total": 1, "Bilirubin_direct": 0.4, "TroponinI": 0.5, "Potassium": 4, "Magnesium": 2,
             "Phosphate": 3.4, "Calcium": 8.5, "Hgb": 10.5, "Hct": 31, "PTT": 34, "WBC": 11, "Platelets": 190}
    for p in range(PATIENTS):
        hours, level, ill = rng.randint(3, 45), {}, rng.random() < 0.2
        for column in COLUMNS:
            level[column] = usual.get(column, 90) * (1 + rng.gauss(0, 0.08))
        for hour in range(hours):
            row = {"Patient": f"m{p:05d}", "Age": 20 + p % 75, "Gender": p % 2, "ICULOS": hour + 1 + p % 4,
                   "SepsisLabel": int(ill and hour > hours - 8)}
            for i, column in enumerate(COLUMNS):
                level[column] += usual.get(column, 90) * rng.gauss(0, 0.02)
                present = 0.85 if i < 7 else 0.12
                value = level[column] * (9 if rng.random() < 0.003 else 1)
                row[column] = round(value, 2) if rng.random() < present else ""
            yield row


def real_patients():
    with lzma.open(REAL, "rt") as file:
        header, last, patients = file.readline().strip().split("|"), None, 0
        for line in file:
            row = dict(zip(header, line.rstrip("\n").split("|")))
            patients += row["Patient"] != last
            last = row["Patient"]
            if patients > REAL_PATIENTS:
                return
            yield row


def number(text):
    return NAN if text in ("", "NaN", None) else float(text)


class Patient:
    """One patient's rows as arrays; every method answers for the row `now`."""

    def __init__(self, rows):
        self.age, self.sex = number(rows[0]["Age"]), number(rows[0]["Gender"])
        self.memo = {}
        self.series = {}
        for key, (column, low, high) in (VITALS | LABS).items():
            values = np.array([number(r.get(column, "")) for r in rows])
            if key == "fio2":
                values = np.where((values > 0) & (values <= 1), values * 100, values)
            values[~((values >= low) & (values <= high))] = NAN
            self.series[key + " exact"] = values
        # What contradicts itself is an artefact (docs/running-models.md). Hours are too far apart for the other rules.
        systolic, diastolic = self.series["systolic exact"], self.series["diastolic exact"]
        is_artefact = systolic - diastolic < 5
        systolic[is_artefact] = diastolic[is_artefact] = NAN
        is_artefact = (self.series["pulse exact"] == 0) & ~(np.isnan(self.series["spo2 exact"]) & np.isnan(systolic))
        self.series["pulse exact"][is_artefact] = NAN
        for key in VITALS | LABS:
            self.series[key] = self.series[key + " exact"].astype(np.float32).astype(float)

    def samples(self, key, now, hours):
        """Ages and values of the samples younger than `hours`, newest first."""
        if (key, now, hours) in self.memo:
            return self.memo[key, now, hours]
        values = self.series[key][max(0, now - hours + 1):now + 1][::-1]
        at = np.flatnonzero(~np.isnan(values))
        self.memo[key, now, hours] = at, values[at]
        return at, values[at]

    def current(self, key, now):
        values = self.series[key + " exact"][max(0, now - EXPIRY[key]):now + 1]
        known = values[~np.isnan(values)]
        return known[-1] if len(known) else NAN

    def level(self, key, now, hours):
        if hours:
            ages, values = self.samples(key, now, hours)
            return values.mean() if len(values) else NAN
        ages, values = self.samples(key, now, 24 if key in VITALS else 72)
        return values[0] if len(values) else NAN

    def statistic(self, key, what, now, hours):
        ages, values = self.samples(key, now, hours)
        if not len(values):
            return NAN
        last, mean = values[0], values.mean()
        if what == "change":
            reach = max(25, hours + 1)
            ages_all, all_values = self.samples(key, now, reach)
            before = all_values[ages_all >= hours]
            return last - before[0] if len(before) else last - values[-1] if len(values) > 1 else NAN
        if what == "slope":
            t = -ages.astype(float)
            return (((t - t.mean()) * (values - mean)).sum() / ((t - t.mean()) ** 2).sum()
                    if len(values) > 1 else NAN)
        if what == "step":
            return last - values[1] if len(values) > 1 else NAN
        return {"last": last, "age": float(ages[0]), "min": values.min(), "max": values.max(), "mean": mean,
                "sd": values.std(ddof=1) if len(values) > 1 else NAN, "median": np.median(values),
                "above_mean": last - mean, "above_min": last - values.min(),
                "below_max": last - values.max()}[what]


def banded(value, bands, tenths=False):
    step = int(np.floor((value * 10 if tenths else value) + 0.5 + 1e-7))
    return next(points for most, points in bands if step <= most)


REST = 10 ** 9
NEWS2 = {"respiration": ([(8, 3), (11, 1), (20, 0), (24, 2), (REST, 3)], False),
         "spo2": ([(91, 3), (93, 2), (95, 1), (REST, 0)], False),
         "systolic": ([(90, 3), (100, 2), (110, 1), (219, 0), (REST, 3)], False),
         "pulse": ([(40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (REST, 3)], False),
         "temperature": ([(350, 3), (360, 1), (380, 0), (390, 1), (REST, 2)], True)}


def news2(patient, now):
    low = high = 0
    for key, (bands, tenths) in NEWS2.items():
        value = patient.current(key, now)
        points = 0 if np.isnan(value) else banded(value, bands, tenths)
        low, high = low + points, high + (3 if np.isnan(value) else points)
    return low, high


def sofa(patient, now):
    score = 0
    for key, bands, tenths in (
            ("platelets", [(19, 4), (49, 3), (99, 2), (149, 1), (REST, 0)], False),
            ("creatinine", [(11, 0), (19, 1), (34, 2), (49, 3), (REST, 4)], True),
            ("bilirubin", [(11, 0), (19, 1), (59, 2), (119, 3), (REST, 4)], True),
            ("mean_pressure", [(69, 1), (REST, 0)], False)):
        value = patient.current(key, now)
        # Laboratory is kept in single precision.
        if key in LABS:
            value = float(np.float32(value))
        score += 0 if np.isnan(value) else banded(value, bands, tenths)
    return score


def sirs(patient, now):
    def is_true(key, test):
        value = patient.current(key, now)
        return not np.isnan(value) and test(value)
    return (is_true("temperature", lambda v: not 360 <= np.floor(v * 10 + 0.5 + 1e-7) <= 380)
            + is_true("pulse", lambda v: np.floor(v + 0.5 + 1e-7) > 90)
            + (is_true("respiration", lambda v: np.floor(v + 0.5 + 1e-7) > 20)
               or is_true("paco2", lambda v: np.floor(np.float32(v) * 10 + 0.5 + 1e-7) <= 319))
            + is_true("leukocytes", lambda v: not 40 <= np.floor(float(np.float32(v)) * 10 + 0.5 + 1e-7) <= 120))


RATIOS = {"shock_index": ("pulse", "systolic"), "urea_nitrogen_by_creatinine": ("urea_nitrogen", "creatinine"),
          "spo2_by_fio2": ("spo2", "fio2"), "sao2_by_fio2": ("sao2", "fio2"),
          "hemoglobin_by_hematocrit": ("hemoglobin", "hematocrit"),
          "platelets_by_leukocytes": ("platelets", "leukocytes"), "paco2_by_bicarbonate": ("paco2", "bicarbonate")}


def feature(patient, name, now):
    if name == "age_years":
        return patient.age
    if name == "sex":
        return patient.sex
    if name in ("news2_low", "news2_high"):
        return news2(patient, now)[name == "news2_high"]
    if name in ("sofa_part", "sirs"):
        return {"sofa_part": sofa, "sirs": sirs}[name](patient, now)
    if name in RATIOS:
        a, b = (patient.level(key, now, 0) for key in RATIOS[name])
        return a / b if b > 0 else NAN
    if name == "pulse_pressure":
        return patient.level("systolic", now, 0) - patient.level("diastolic", now, 0)
    if name == "rox":
        a, b, c = (patient.level(key, now, 0) for key in ("spo2", "fio2", "respiration"))
        return 100 * a / b / c if b > 0 and c > 0 else NAN
    found = re.fullmatch(
        r"(.+?)_(last|age|step|change|min|max|mean|median|sd|slope|above_mean|above_min|below_max)(?:_(\d+)h)?", name)
    if not found or found[1] not in VITALS | LABS:
        sys.exit(f"crosscheck: nobody has told this script what {name} is")
    key, what = found[1], found[2]
    return patient.statistic(key, what, now, int(found[3]) if found[3] else 24 if key in VITALS else 72)


def check(vigil, model_dir, kind, rows):
    card = json.loads((model_dir / "card.json").read_text())
    patients = {}
    for row in rows:
        patients.setdefault(row["Patient"], []).append(row)
    with tempfile.TemporaryDirectory() as work:
        psv, out = pathlib.Path(work, "rows.psv"), pathlib.Path(work, "out.csv")
        header = ["Patient", *COLUMNS, "Age", "Gender", "ICULOS", "SepsisLabel"]
        psv.write_text("\n".join(["|".join(header)] + ["|".join(str(r.get(c, "")) for c in header)
                                                         for r in rows]) + "\n")
        subprocess.run([vigil, "evaluate", "--model", str(model_dir), "--format", "physionet2019", "--bootstrap", "0",
                        "--predictions", str(out), str(psv)], check=True, stdout=subprocess.DEVNULL)
        live = list(csv.DictReader(out.open()))

    matrix = []
    for rows_of in patients.values():
        patient = Patient(rows_of)
        matrix += [[feature(patient, name, now) for name in card["features"]] for now in range(len(rows_of))]
    booster = xgboost.Booster(model_file=str(model_dir / "model.json"))
    data = xgboost.DMatrix(np.array(matrix, dtype=np.float32), feature_names=booster.feature_names, nthread=1)
    margins = booster.predict(data, output_margin=True).astype(float)
    calibration = card["calibration"]
    mine = 1 / (1 + np.exp(-(calibration["slope"] * margins + calibration["intercept"])))
    theirs = np.array([float(r["probability"]) for r in live])
    flat = [(p, str(r["ICULOS"])) for p, rows_of in patients.items() for r in rows_of]
    if [(r["patient"], r["hour"]) for r in live] != flat:
        print(f"FAIL {model_dir.name}, {kind}: the predictions file has other rows than the input")
        return False
    off = np.abs(mine - theirs)
    alerts = np.array([int(r["alert"]) for r in live])
    border = card["thresholds"].get("operating", card["thresholds"]["medium"])["probability"]
    wrong = (alerts != (mine >= border)) & (np.abs(mine - border) > TOLERANCE)
    good = off.max() <= TOLERANCE and not wrong.any()
    print(f"{'ok  ' if good else 'FAIL'} {model_dir.name}, {kind}: {len(flat)} rows of {len(patients)} patients, "
          f"{len(card['features'])} features, largest difference {off.max():.2g}, {alerts.sum()} alerts")
    if not good:
        row = int(off.argmax())
        print(f"     row {row} {flat[row]}: live {theirs[row]:.9f}, here {mine[row]:.9f}")
    return good


def main():
    vigil = sys.argv[1]
    models = [pathlib.Path(m) for m in sys.argv[2:]] or [
        m for m in (SOURCE / "models/sepsis-vitals",) if m.exists()]
    cases = [("made up", list(made_up_patients()))]
    if REAL.exists():
        cases.append(("real", list(real_patients())))
    else:
        print("SKIPPED real patients: ../shared/data is not here")
    results = [check(vigil, model, kind, rows) for model in models for kind, rows in cases]
    sys.exit(0 if all(results) else 1)


main()
