// What @lhncbc/ucum-lhc makes of unit pairs, for src/connector/ucum_test.c: a line each with from, to, value,
// molar mass (or nothing) and the result ("failed": no conversion), separated by tabs.
import ucum from "@lhncbc/ucum-lhc";

const utils = ucum.UcumLhcUtils.getInstance();
const groups = [
  ["Cel", "[degF]", "K"],
  ["mm[Hg]", "kPa", "cm[H2O]", "Pa", "mbar", "bar", "[psi]", "atm", "cm[Hg]", "N/m2", "[in_i'Hg]", "[in_i'H2O]"],
  ["kg", "g", "mg", "ug", "t", "[lb_av]", "[oz_av]", "[stone_av]", "[gr]", "[oz_tr]", "[lton_av]"],
  ["m", "cm", "mm", "km", "[in_i]", "[ft_i]", "[yd_i]", "[mi_i]", "[nmi_i]"],
  ["/min", "/s", "/h", "Hz", "{beats}/min", "kHz", "1/min", "/d"],
  ["L/min", "mL/s", "mL/h", "L/h", "dL/min", "m3/h", "mL/min", "[foz_us]/min"],
  ["L", "mL", "dL", "ul", "m3", "cm3", "[gal_us]", "[foz_us]", "[cup_us]", "[tbs_us]", "[tsp_us]", "[pt_br]"],
  ["s", "ms", "min", "h", "d", "wk", "a", "us"],
  ["%", "[ppth]", "[ppm]", "10*-2", "1"],
  ["mg/dL", "g/L", "ug/mL", "ng/mL", "kg/m3", "mg/L", "g/dL"],
  ["mmol/L", "umol/L", "mol/m3", "umol/mL", "nmol/mL"],
  ["mV", "V", "uV", "kV"],
  ["kcal", "kJ", "J", "[Cal]", "W.h", "cal"],
  ["W", "J/s", "kW", "kcal/h"],
  ["kg/m2", "g/cm2", "[lb_av]/[sft_i]"],
  ["m/s", "km/h", "[mi_i]/h", "[kn_i]", "cm/s"],
  ["U/L", "kat/L", "nkat/mL", "U/mL"],
  ["10*9/L", "10*3/uL", "10*6/mL", "/L", "/nL"],
  ["mL/(kg.min)", "L/(kg.h)", "mL/kg/min"],
  ["dyn.s/cm5", "N.s/m5", "mm[Hg].min/L", "[wood'U]"],
  ["deg", "rad", "'"],
];
const values = ["97.88", "120", "0.5", "-12.25", "3.14159", "1234.5678"];
const molar = [
  ["mmol/L", "mg/dL", "5.5", "180.156"], ["mg/dL", "mmol/L", "99.0858", "180.156"], ["umol/L", "mg/dL", "88.4", "113.12"],
  ["mg/dL", "umol/L", "1", "113.12"], ["mmol/L", "g/L", "1.7", "386.65"], ["nmol/L", "ng/mL", "50", "400.64"],
  ["mol", "kg", "2", "18.01528"],
];

function put(from, to, value, mass) {
  const r = utils.convertUnitTo(from, Number(value), to, { molecularWeight: mass ? Number(mass) : null });
  console.log([from, to, value, mass ?? "", r.status === "succeeded" ? r.toVal : r.status].join("\t"));
}

let turn = 0;
for (const group of groups)
  for (const from of group) for (const to of group) put(from, to, values[turn++ % values.length]);
for (const row of molar) put(...row);
for (let i = 0; i < groups.length; i++) put(groups[i][0], groups[(i + 1) % groups.length][0], "1");
for (const unit of ["foo", "mmHg", "degF", "[DegF]", "CEL", "kg.", "kg/", "(kg", "kg)", "m[Hg", "{a", "kCel.m"]) put(unit, "kg", "1");
for (const unit of ["mol/L", "%", "1", "osm/L"]) put("meq/L", unit, "1"); // depends on the ion's charge
