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
import warnings

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


def newest(past, nth=0):
    """Of each row the nth value counted from the newest (NaN: fewer), and how old it is."""
    known = ~np.isnan(past)
    is_it = known & (known.cumsum(axis=1) == nth + 1)
    at = is_it.argmax(axis=1)
    there = is_it.any(axis=1)
    return np.where(there, past[np.arange(len(past)), at], NAN), np.where(there, at, NAN)


class Patient:
    """One patient's rows as arrays; every method answers for all rows at once."""

    def __init__(self, rows, history):
        """history: hours of vital signs that the window keeps, counted from the newest reading of all."""
        self.history = history
        self.count = len(rows)
        self.age, self.sex = number(rows[0]["Age"]), number(rows[0]["Gender"])
        self.series, self.exact, self.windows = {}, {}, {}
        for key, (column, low, high) in (VITALS | LABS).items():
            values = np.array([number(r.get(column, "")) for r in rows])
            if key == "fio2":
                values = np.where((values > 0) & (values <= 1), values * 100, values)
            values[~((values >= low) & (values <= high))] = NAN
            # Windows keep single precision, and of vital signs the newest reading as it came.
            self.series[key] = values.astype(np.float32).astype(float)
            self.exact[key] = values if key in VITALS else self.series[key]
        at = np.arange(self.count)
        there = {group: ~np.isnan([self.series[key] for key in group]).all(axis=0)
                 for group in (tuple(VITALS), tuple(LABS))}
        self.newest_at = np.maximum.accumulate(np.where(np.any(list(there.values()), axis=0), at, -1))
        self.seen_hours = np.zeros(self.count)
        for group, hours in zip(there, (history, 72)):
            for i, w in enumerate(self.newest_at):
                known = there[group][max(0, w - hours):i + 1]
                if known.any():
                    self.seen_hours[i] = max(self.seen_hours[i], len(known) - known.argmax())

    def past(self, key, hours):
        """A row for each hour: the value then, the one an hour before, … of a window."""
        if (key, hours) not in self.windows:
            padded = np.concatenate([np.full(hours - 1, NAN), self.series[key]])
            self.windows[key, hours] = np.lib.stride_tricks.sliding_window_view(padded, hours)[:, ::-1]
        return self.windows[key, hours]

    def current(self, key):
        hours = EXPIRY[key] + 1
        padded = np.concatenate([np.full(hours - 1, NAN), self.exact[key]])
        return newest(np.lib.stride_tricks.sliding_window_view(padded, hours)[:, ::-1])[0]

    def level(self, key):
        return newest(self.past(key, 24 if key in VITALS else 72))[0]

    def statistic(self, key, what, hours):
        past = self.past(key, hours)
        known = ~np.isnan(past)
        n = known.sum(axis=1)
        last, age = newest(past)
        mean = np.nansum(past, axis=1) / np.where(n, n, NAN)
        least, most = np.nanmin(past, axis=1), np.nanmax(past, axis=1)
        if what == "change":
            before, _ = newest(self.past(key, max(25, hours + 1))[:, hours:])
            oldest = np.where(n > 1, newest(past[:, ::-1])[0], NAN)
            return np.where(n, last - np.where(np.isnan(before), oldest, before), NAN)
        if what == "share":
            # A signal that the window has lost sight of is missing, not 0.
            kept = [(~np.isnan(self.series[key][max(0, w - self.history):i + 1])).any()
                    for i, w in enumerate(self.newest_at)]
            return np.where(kept, n / np.minimum(np.maximum(self.seen_hours, 1), hours), NAN)
        if what == "slope":
            t = np.where(known, -np.arange(hours), NAN)
            t -= np.nanmean(t, axis=1, keepdims=True)
            rise = np.nansum(t * (past - mean[:, None]), axis=1) / np.nansum(t * t, axis=1)
            return np.where(n > 1, rise, NAN)
        return {"last": lambda: last, "age": lambda: age, "step": lambda: last - newest(past, 1)[0],
                "min": lambda: least, "max": lambda: most, "mean": lambda: mean,
                "sd": lambda: np.where(n > 1, np.nanstd(past, axis=1, ddof=1), NAN),
                "median": lambda: np.nanmedian(past, axis=1), "above_mean": lambda: last - mean,
                "above_min": lambda: last - least, "below_max": lambda: last - most}[what]()


REST = 10 ** 9
NEWS2 = [("respiration", [(8, 3), (11, 1), (20, 0), (24, 2), (REST, 3)], 1),
         ("spo2", [(91, 3), (93, 2), (95, 1), (REST, 0)], 1),
         ("systolic", [(90, 3), (100, 2), (110, 1), (219, 0), (REST, 3)], 1),
         ("pulse", [(40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (REST, 3)], 1),
         ("temperature", [(350, 3), (360, 1), (380, 0), (390, 1), (REST, 2)], 10)]
SOFA = [("platelets", [(19, 4), (49, 3), (99, 2), (149, 1), (REST, 0)], 1),
        ("creatinine", [(11, 0), (19, 1), (34, 2), (49, 3), (REST, 4)], 10),
        ("bilirubin", [(11, 0), (19, 1), (59, 2), (119, 3), (REST, 4)], 10),
        ("mean_pressure", [(69, 1), (REST, 0)], 1)]


def points(patient, key, bands, steps):
    """What a chart gives a value, by steps of one or of a tenth; NaN where there is no value."""
    value = patient.current(key)
    step = np.floor(np.nan_to_num(value) * steps + 0.5 + 1e-7)
    found = np.searchsorted([most for most, _ in bands], step)
    return np.where(np.isnan(value), NAN, np.array([p for _, p in bands], dtype=float)[found])


def score(patient, chart, missing=0):
    return sum(np.nan_to_num(points(patient, *part), nan=missing) for part in chart)


def sirs(patient):
    # Breathing has one point, which either of two values gives.
    breathing = np.fmax(points(patient, "respiration", [(20, 0), (REST, 1)], 1),
                        points(patient, "paco2", [(319, 1), (REST, 0)], 10))
    return np.nan_to_num(breathing) + score(patient, [
        ("temperature", [(359, 1), (380, 0), (REST, 1)], 10), ("pulse", [(90, 0), (REST, 1)], 1),
        ("leukocytes", [(39, 1), (120, 0), (REST, 1)], 10)])


RATIOS = {"shock_index": ("pulse", "systolic"), "urea_nitrogen_by_creatinine": ("urea_nitrogen", "creatinine"),
          "spo2_by_fio2": ("spo2", "fio2"), "sao2_by_fio2": ("sao2", "fio2"),
          "hemoglobin_by_hematocrit": ("hemoglobin", "hematocrit"),
          "platelets_by_leukocytes": ("platelets", "leukocytes"), "paco2_by_bicarbonate": ("paco2", "bicarbonate")}
OTHERS = {"age_years": lambda p: np.full(p.count, p.age), "sex": lambda p: np.full(p.count, p.sex),
          "news2_low": lambda p: score(p, NEWS2), "news2_high": lambda p: score(p, NEWS2, missing=3),
          "sofa_part": lambda p: score(p, SOFA), "sirs": sirs,
          "pulse_pressure": lambda p: p.level("systolic") - p.level("diastolic"),
          "rox": lambda p: 100 * over(over(p.level("spo2"), p.level("fio2")), p.level("respiration"))}


def over(a, b):
    return np.where(b > 0, a / b, NAN)


def feature(patient, name):
    if name in OTHERS:
        return OTHERS[name](patient)
    if name in RATIOS:
        return over(*(patient.level(key) for key in RATIOS[name]))
    found = re.fullmatch(
        r"(.+?)_(last|age|step|change|min|max|mean|median|sd|slope|share|above_mean|above_min|below_max)(?:_(\d+)h)?", name)
    if not found or found[1] not in VITALS | LABS:
        sys.exit(f"crosscheck: nobody has told this script what {name} is")
    key = found[1]
    return patient.statistic(key, found[2], int(found[3]) if found[3] else 24 if key in VITALS else 72)


def check(vigil, model_dir, card, kind, psv, flat, columns):
    out = psv.with_suffix(".csv")
    subprocess.run([vigil, "evaluate", "--model", str(model_dir), "--format", "physionet2019", "--bootstrap", "0",
                    "--predictions", str(out), str(psv)], check=True, stdout=subprocess.DEVNULL)
    with out.open() as file:
        live = list(csv.DictReader(file))
    matrix = np.stack([columns[name] for name in card["features"]], axis=1).astype(np.float32)
    booster = xgboost.Booster(model_file=str(model_dir / "model.json"))
    data = xgboost.DMatrix(matrix, feature_names=booster.feature_names, nthread=1)
    margins = booster.predict(data, output_margin=True).astype(float)
    calibration = card["calibration"]
    mine = 1 / (1 + np.exp(-(calibration["slope"] * margins + calibration["intercept"])))
    theirs = np.array([float(r["probability"]) for r in live])
    if [(r["patient"], r["hour"]) for r in live] != flat:
        print(f"FAIL {model_dir.name}, {kind}: the predictions file has other rows than the input")
        return False
    off = np.abs(mine - theirs)
    alerts = np.array([int(r["alert"]) for r in live])
    border = card["thresholds"].get("operating", card["thresholds"]["medium"])["probability"]
    wrong = (alerts != (mine >= border)) & (np.abs(mine - border) > TOLERANCE)
    good = off.max() <= TOLERANCE and not wrong.any()
    print(f"{'ok  ' if good else 'FAIL'} {model_dir.name}, {kind}: {len(flat)} rows, "
          f"{len(card['features'])} features, largest difference {off.max():.2g}, {alerts.sum()} alerts")
    if not good:
        row = int(off.argmax())
        print(f"     row {row} {flat[row]}: live {theirs[row]:.9f}, here {mine[row]:.9f}")
    return good


def history(card):
    """Vital signs are kept as long as the model's longest feature of them, a day at least."""
    reach = [int(found[2]) for found in (re.fullmatch(r"(.+?)_[a-z_]+_(\d+)h", f) for f in card["features"])
             if found and found[1] in VITALS]
    return max([24, *reach])


def check_all(vigil, cards, kind, rows):
    patients = {}
    for row in rows:
        patients.setdefault(row["Patient"], []).append(row)
    columns = {history(card): {} for card in cards.values()}
    for card in cards.values():
        columns[history(card)].update({name: [] for name in card["features"]})
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numpy's, of windows without any value
        for rows_of in patients.values():
            for hours, named in columns.items():
                patient = Patient(rows_of, hours)
                for name, parts in named.items():
                    parts.append(feature(patient, name))
    columns = {hours: {name: np.concatenate(parts) for name, parts in named.items()}
               for hours, named in columns.items()}
    flat = [(p, str(r["ICULOS"])) for p, rows_of in patients.items() for r in rows_of]
    with tempfile.TemporaryDirectory() as work:
        psv = pathlib.Path(work, "rows.psv")
        header = ["Patient", *COLUMNS, "Age", "Gender", "ICULOS", "SepsisLabel"]
        psv.write_text("\n".join(["|".join(header)] + ["|".join(str(r.get(c, "")) for c in header)
                                                         for r in rows]) + "\n")
        return all([check(vigil, model, card, kind, psv, flat, columns[history(card)]) for model, card in cards.items()])


def main():
    vigil = sys.argv[1]
    models = [pathlib.Path(m) for m in sys.argv[2:]] or [SOURCE / "models/sepsis-vitals", SOURCE / "models/sepsis-full"]
    cards = {model: json.loads((model / "card.json").read_text()) for model in models}
    cases = [("made up", list(made_up_patients()))]
    if REAL.exists():
        cases.append(("real", list(real_patients())))
    else:
        print("SKIPPED real patients: ../shared/data is not here")
    sys.exit(0 if all([check_all(vigil, cards, kind, rows) for kind, rows in cases]) else 1)


main()
